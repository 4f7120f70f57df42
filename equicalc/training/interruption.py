"""Ctrl-C and SIGTERM end a run between two steps, with a checkpoint, and say so."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

ENDING = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818  (an answer, not an error)
    """A signal has ended the run."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Signals:
    """Notes the first signal that is to end a run; a second Ctrl-C ends it at once.

    Attributes
    ----------
    number
        Of the signal; 0 as long as there was none.
    """

    number = 0

    def listen(self) -> None:
        """Take signals from now on; Lightning's own handlers are there before."""
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def ended_by_signals(signals: Signals, leads: bool) -> Iterator[None]:
    """Let signals end Lightning's loop, which would exit with codes of its own.

    Parameters
    ----------
    signals
        What a callback listens with.
    leads
        Whether this is the process that tells how the run ended; others are silent.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C.
    SystemExit
        After SIGTERM, with the exit code of a shell, 143.
    """
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
        number = signals.number  # too late for a step
    except Stopped as stopped:
        number = stopped.number
    except SystemExit as error:  # before the first step, or a second Ctrl-C
        if isinstance(error, SIGTERMException):
            number = signal.SIGTERM
        elif isinstance(error.__context__, KeyboardInterrupt):
            number = signal.SIGINT
        else:
            raise
    finally:
        if threading.current_thread() is threading.main_thread():
            for one, handler in before.items():
                signal.signal(one, handler)
    if leads and number == signal.SIGINT:
        raise KeyboardInterrupt
    if leads and number == signal.SIGTERM:
        logger.warning("stopped by SIGTERM; the same call goes on")
        raise SystemExit(128 + signal.SIGTERM)


def ignore_signals(worker: int) -> None:
    """Leave signals to the process that a worker makes batches for."""
    del worker
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
