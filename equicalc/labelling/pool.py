"""Worker processes that may die or hang without harm to the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait

from equicalc.calculators.named import named_calculator
from equicalc.labelling.sampling import Unit
from equicalc.labelling.worker import Result, Task, failure, label_unit

READY = "ready"
STARTUP = 120.0  # seconds for a worker to import what it needs
POLL = 0.5  # seconds between looks at the clock
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerError(RuntimeError):
    """Worker processes cannot start."""


def usable_cores() -> int:
    """Processor cores that this process may use; a batch system may lend it a few."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def label_units(
    units: Iterable[Unit], task: Task, n_workers: int
) -> Generator[Result, None, None]:
    """Label units in parallel; results come in the order in which they are done.

    A worker that dies, or gives no new structure within the timeout, loses the rest of
    its unit (a failure says so) and is replaced.

    Raises
    ------
    WorkerError
        If worker processes cannot start at all.
    """
    queue = deque(units)
    workers = [_Worker(task) for _ in range(min(n_workers, len(queue)))]
    try:
        for worker in workers:
            worker.start(queue.popleft())
        while busy := [worker for worker in workers if worker.result is not None]:
            ready = wait([worker.pipe for worker in busy], timeout=POLL)
            for worker in busy:
                result = worker.collect(worker.pipe in ready)
                if result is not None:
                    if queue:
                        worker.start(queue.popleft())
                    yield result
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that labels one unit at a time.

    It sends ``READY`` when it has started, then for each unit its structures and
    failures, then None.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.result: Result | None = None  # of the unit in work
        self._launch()

    def start(self, unit: Unit) -> None:
        """Give the worker a unit."""
        try:
            self.pipe.send(unit)
        except OSError:  # died while it had nothing to do
            self.stop()
            self._launch()
            self.pipe.send(unit)
        self.result = Result(unit)
        self._wait_until(self.task.timeout if self._ready else STARTUP)

    def collect(self, ready: bool) -> Result | None:
        """Take what has come; the result once the unit is done."""
        result = self.result
        assert result is not None
        try:
            while ready and self.pipe.poll():
                message = self.pipe.recv()
                self._wait_until(self.task.timeout)
                if message is None:
                    self.result = None
                    return result
                if message == READY:
                    self._ready = True
                else:
                    result.add(message)
        except (EOFError, OSError):
            self.process.join()
            return self._lost(f"worker died, exit code {self.process.exitcode}")
        if time.monotonic() > self._deadline:
            return self._lost(f"no structure within {self.task.timeout:g} s")
        return None

    def stop(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.kill()
        self.process.join()

    def _launch(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, self.task), daemon=True
        )
        with single_threaded():
            self.process.start()
        theirs.close()
        self._ready = False

    def _lost(self, reason: str) -> Result:
        result, self.result = self.result, None
        assert result is not None
        if not self._ready:
            raise WorkerError(
                f"worker processes cannot start ({reason}); in a script, call label() "
                'under `if __name__ == "__main__":`'
            )
        self.stop()
        self._launch()
        result.add(failure(result.unit, result.unit.kind, reason))
        return result

    def _wait_until(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds


def _serve(pipe: Connection, task: Task) -> None:
    """Label units from the pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    named_calculator(task.calculator)  # imports
    try:
        pipe.send(READY)
        while True:
            unit = pipe.recv()
            # a calculator of its own: results must not hang on what came before
            for outcome in label_unit(unit, named_calculator(task.calculator), task):
                pipe.send(outcome)
            pipe.send(None)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread in each process that is started here: processes are enough."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
