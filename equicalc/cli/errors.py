"""Errors end in one clear line and an exit code, not in a traceback."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from equicalc.cli.console import stderr
from equicalc.cli.inputs import remove_empty_folders

OUR_ERROR = 1
USER_ERROR = 2
INTERRUPTED = 130


class ErrorLine(TyperGroup):
    """A group of commands that turns exceptions into one line on stderr.

    Exit codes: 0 when all was done, 2 for what a user can set right, 1 for an error of
    ours, 130 for Ctrl-C. Of several structures the worst counts; one that did not
    converge in the steps allowed is a result, no error. ``--debug`` may stand anywhere
    and lets the exception through. Folders for results that stayed empty are removed.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move ``--debug`` to the front, where the group looks for it."""
        if "--debug" in args:
            args = ["--debug", *(arg for arg in args if arg != "--debug")]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print_error("interrupted; what was finished is on disk")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if ctx.params.get("debug") or type(error).__module__.startswith("typer"):
                raise
            print_error(message_of(error))
            raise typer.Exit(exit_code(error)) from None
        finally:
            remove_empty_folders()


def exit_code(error: BaseException) -> int:
    """Tell what a user can set right from an error of ours.

    The library, ASE and the system raise errors with a name of their own; a bare
    RuntimeError, or one that torch named, is none that was foreseen.

    Examples
    --------
    >>> exit_code(ValueError("fmax must be positive"))
    2
    >>> exit_code(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    1
    """
    if isinstance(error, RuntimeError):
        kind = type(error)
        ours = kind is RuntimeError or kind.__module__.partition(".")[0] == "torch"
        return OUR_ERROR if ours else USER_ERROR
    expected = isinstance(error, (ValueError, OSError, ImportError))
    return USER_ERROR if expected else OUR_ERROR


def message_of(error: BaseException) -> str:
    """Say what went wrong, without a traceback.

    Examples
    --------
    >>> message_of(ValueError("fmax must be positive"))
    'fmax must be positive'
    >>> message_of(FileNotFoundError(2, "No such file or directory", "a.xyz"))
    'a.xyz: No such file or directory'
    >>> message_of(KeyError("x"))
    "KeyError: 'x' (an error of equicalc; --debug shows where)"
    """
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    text = str(error).strip()
    if exit_code(error) == USER_ERROR and text:
        return text
    return f"{type(error).__name__}: {text} (an error of equicalc; --debug shows where)"


def print_error(message: str) -> None:
    """Print one line on stderr."""
    stderr.print(f"[bold red]error:[/bold red] {_escaped(message)}", soft_wrap=True)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
