"""One writer at a time: locks on folders and files, which end with their process."""

import fcntl
import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["locked"]

log = logging.getLogger(__name__)


@contextmanager
def locked(path: str | Path, wait: bool = False) -> Iterator[None]:
    """Keep other processes, and other threads, from writing to the same place.

    The operating system takes the lock back when a process ends in whatever way, so
    that a killed run leaves nothing to clean up.

    Parameters
    ----------
    path
        A folder that exists, or a file, which need not exist; its folder must.
    wait
        Wait for the other writer instead of raising.

    Raises
    ------
    ValueError
        If another process holds the lock.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with locked(folder), locked(folder):  # doctest: +ELLIPSIS
    ...     pass
    Traceback (most recent call last):
    ValueError: another process is working in ...; wait for it, or choose another output
    """
    path = Path(path)
    lock = path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")
    with _held(lock, wait, path):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _held(lock: Path, wait: bool, path: Path) -> io.TextIOWrapper:
    """Open a lock file and lock it; again if its last owner has just removed it."""
    while True:
        file = lock.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.close()
            raise ValueError(
                f"another process is working in {path}; wait for it, or choose "
                "another output"
            ) from None
        except OSError as error:  # some network file systems have no locks
            log.warning("%s cannot be locked (%s): write to it once only", path, error)
            return file
        with suppress(FileNotFoundError):  # removed by the last owner
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file
        file.close()
