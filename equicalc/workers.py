"""Processes that work: none, a local pool, or a Dask cluster, by the same code."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["Workers"]

logger = logging.getLogger(__name__)

Given = TypeVar("Given")
Made = TypeVar("Made")


class Workers:
    """Run a function on many things, in this process or in others.

    Parameters
    ----------
    n
        Local processes; 1 is this one, 0 is one per processor core.
    scheduler
        Address of a Dask scheduler, ``tcp://host:8786``, instead. Its workers need the
        same version of this package. One that dies loses no work: its tasks go to
        others.
    patience
        Seconds to wait for the scheduler and its first worker.

    Examples
    --------
    >>> with Workers(1) as workers:
    ...     sorted(workers.map(abs, [-2, 1]))
    [1, 2]
    """

    def __init__(
        self, n: int = 1, scheduler: str | None = None, patience: float = 60.0
    ) -> None:
        if n < 0:
            raise ValueError(f"workers = {n}; give 0 (all cores) or more")
        self.n = n
        self.scheduler = scheduler
        self.patience = patience
        self._closing: Any = None

    def __enter__(self) -> Workers:
        self._closing = self._backend()
        self._closing.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.__exit__(*error)

    def map(
        self, function: Callable[[Given], Made], tasks: Iterable[Given]
    ) -> Iterator[Made]:
        """Yield results in the order in which they are done."""
        if self.n == 1 and self.scheduler is None:
            yield from map(function, tasks)
            return
        from joblib import Parallel, delayed

        options: dict[str, Any] = {"batch_size": 1}
        parallel: Any = Parallel(return_as="generator_unordered", **options)
        yield from parallel(delayed(function)(task) for task in tasks)

    @contextmanager
    def _backend(self) -> Iterator[None]:
        if self.n == 1 and self.scheduler is None:
            yield
            return
        from joblib import parallel_config

        if self.scheduler is None:
            local: Any = {"n_jobs": self.n or -1, "inner_max_num_threads": 1}
            with parallel_config("loky", **local), warnings.catch_warnings():
                # a process that has loaded its networks looks to joblib as if it
                # leaked memory, and is replaced; nothing is lost
                warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
                yield
            return
        with _client(self.scheduler, self.patience) as client:
            logger.info("%d threads of %s", sum(client.ncores().values()), client)
            waiting: dict[str, Any] = {"wait_for_workers_timeout": self.patience}
            with parallel_config("dask", client=client, **waiting):
                yield


@contextmanager
def _client(scheduler: str, patience: float) -> Iterator[Any]:
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise ImportError(
            'a cluster needs dask: pip install "equicalc[cluster]"'
        ) from error
    try:
        client = Client(scheduler, timeout=patience, set_as_default=False)
    except OSError as error:
        raise ValueError(
            f"no Dask scheduler answers at {scheduler} ({error}): start one with "
            "`dask scheduler`, and `dask worker` processes"
        ) from error
    with client:
        yield client
