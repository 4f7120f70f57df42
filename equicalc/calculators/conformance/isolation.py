"""Run a check in a process of its own: compiled calculators may abort theirs."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from equicalc.calculators.conformance.report import Failure

#: Seconds after which a check is given up.
PATIENCE = 120.0


def isolated(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a forked process and return its result.

    Where forking is not possible (another platform, a GPU in use) the function runs
    in this process.

    Parameters
    ----------
    function : callable
        Its result must be picklable, and it must not raise.
    *args
        Passed on; they need not be picklable.

    Raises
    ------
    Failure
        If the process dies or does not answer within `PATIENCE`.
    """
    if not _can_fork():
        return function(*args)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_answer, args=(sender, function, args), daemon=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12, threads
        process.start()
    sender.close()
    try:
        if not receiver.poll(PATIENCE):
            raise Failure(f"no answer after {PATIENCE:.0f} s")
        return receiver.recv()
    except EOFError:
        process.join(PATIENCE)
        raise Failure(f"the process died with exit code {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
        receiver.close()


def _answer(sender: Connection, function: Callable[..., Any], args: tuple) -> None:
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # the parent's OpenMP threads are not here
    result = function(*args)
    sender.send(result)


def _can_fork() -> bool:
    torch = sys.modules.get("torch")
    gpu = torch is not None and torch.cuda.is_initialized()
    return "fork" in multiprocessing.get_all_start_methods() and not gpu
