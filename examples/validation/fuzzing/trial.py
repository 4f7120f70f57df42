"""Read one broken file, and judge what came of it."""

import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from .readers import Reader

MOST_SECONDS = 10.0  # of the processor
MOST_MEMORY = 300.0  # MiB
PATIENCE = 120  # seconds until a reader counts as stuck


class StuckError(BaseException):
    """No reader catches this."""


@dataclass(frozen=True)
class Trial:
    """What a reader made of a file.

    Attributes
    ----------
    file
        Its name.
    outcome
        ``"accepted"``, ``"rejected"`` with a clear error, or ``"failed"``.
    message
        The error, or what was wrong with it.
    seconds, memory
        Processor time and additional memory, MiB, that it took.
    """

    file: str
    outcome: str
    message: str
    seconds: float
    memory: float


def trials(
    reader: Reader, folder: Path, n: int, seed: int, quick: bool = False
) -> Iterator[Trial]:
    """Read the crafted files, and `n` files that are broken at random.

    Of the first crafted ones `quick` takes as many, drawn at random.
    """
    rng = np.random.default_rng([seed, *reader.name.encode()])
    mark = folder / "mark"
    whole = folder / "whole" / reader.whole
    whole.parent.mkdir(parents=True)
    reader.make(whole)
    yield _trial(reader, _copied(folder, whole), mark, must_succeed=True)
    broken = folder / "crafted"
    broken.mkdir()
    crafted = list(islice(reader.crafted(broken, whole, mark), 40 if quick else None))
    if quick:
        crafted = [crafted[k] for k in sorted(rng.permutation(len(crafted))[:n])]
    for path in crafted:
        yield _trial(reader, path, mark)
    for path in _mutated(reader, folder / "mutated", whole.read_bytes(), n, rng):
        yield _trial(reader, path, mark)


def _copied(folder, whole):
    path = folder / "same" / f"whole{''.join(whole.suffixes)}"
    path.parent.mkdir()
    path.write_bytes(whole.read_bytes())
    return path


def _mutated(reader, folder, data, n, rng):
    """Yield files to which one to three things have happened."""
    folder.mkdir()
    suffix = "".join(Path(reader.whole).suffixes)
    for number in range(n):
        changed, names = data, []
        for _ in range(rng.integers(1, 4)):
            change = reader.mutations[rng.integers(len(reader.mutations))]
            changed = change(changed, rng) if changed else changed
            names.append(change.__name__)
        path = folder / f"{number:04d}-{'-'.join(names)}{suffix}"
        path.write_bytes(changed)
        yield path


def _trial(reader, path, mark, must_succeed=False):
    shown = reader.shown or path.name
    before, started = _memory(reset=True), time.process_time()
    outcome, message = "accepted", ""
    try:
        with warnings.catch_warnings(), _patience():
            warnings.simplefilter("ignore")
            reader.read(path)
    except (ValueError, OSError) as error:
        outcome, message = "rejected", str(error)
        if must_succeed or shown not in message:
            outcome, message = (
                "failed",
                f"{type(error).__name__}, no {shown}: {message}",
            )
    except (Exception, StuckError) as error:
        outcome, message = "failed", f"{type(error).__name__}: {error}"
    seconds, memory = time.process_time() - started, _memory() - before
    if mark.exists():
        mark.unlink()
        outcome, message = "failed", "code of the file was run"
    if seconds > MOST_SECONDS or memory > MOST_MEMORY:
        outcome, message = "failed", f"{seconds:.1f} s, {memory:.0f} MiB: {message}"
    return Trial(path.name, outcome, message, seconds, memory)


@contextmanager
def _patience():
    """Interrupt what does not end."""

    def stop(*_):
        raise StuckError(f"not done after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _memory(reset=False):
    """Return the most memory, in MiB, that the process had since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text().splitlines()
    [peak] = [line.split()[1] for line in status if line.startswith("VmHWM")]
    return int(peak) / 1024
