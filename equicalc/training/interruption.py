"""Ctrl-C and SIGTERM end a run between two steps, with a checkpoint, and say so."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let signals end Lightning's loop after its step; a second Ctrl-C at once.

    SIGTERM does, but with exit code 0; Ctrl-C would break a step off.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C.
    SystemExit
        After SIGTERM, with the exit code of a shell, 143.
    """
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, None):
            raise KeyboardInterrupt  # the loop has not begun
        interrupted = True
        os.kill(os.getpid(), signal.SIGTERM)

    in_charge = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, interrupt) if in_charge else None
    try:
        yield
    except BaseException as error:  # Lightning exits after Ctrl-C too
        if interrupted or isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        if isinstance(error, SIGTERMException):
            logger.warning("stopped by SIGTERM; the same call goes on")
            raise SystemExit(128 + signal.SIGTERM) from error
        raise
    finally:
        if in_charge:
            signal.signal(signal.SIGINT, before)
