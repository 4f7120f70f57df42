"""Errors of users end in one clear line and exit code 2, not in a traceback."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from equicalc.cli.console import stderr

EXPECTED = (ValueError, OSError, ImportError, RuntimeError)
"""What the library, ASE (its errors are RuntimeErrors) and the system raise."""


class ErrorLine(TyperGroup):
    """A group of commands that turns exceptions into one line on stderr.

    Exit codes: 2 for what a user can set right, 1 for an error of ours, 130 for Ctrl-C.
    ``--debug`` may stand anywhere and lets the exception through.
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
            raise typer.Exit(130) from None
        except Exception as error:
            if ctx.params.get("debug") or type(error).__module__.startswith("typer"):
                raise
            print_error(message_of(error))
            raise typer.Exit(2 if isinstance(error, EXPECTED) else 1) from None


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
    if isinstance(error, EXPECTED) and text:
        return text
    return f"{type(error).__name__}: {text} (an error of equicalc; --debug shows where)"


def print_error(message: str) -> None:
    """Print one line on stderr."""
    stderr.print(f"[bold red]error:[/bold red] {_escaped(message)}", soft_wrap=True)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
