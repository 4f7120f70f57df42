"""Damaged files: whatever a parser raises becomes one error that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["naming", "reason"]


@contextmanager
def naming(
    path: str | Path, problem: str = "is damaged", always: bool = False
) -> Iterator[None]:
    """Turn every error of a block that reads a file into one that names the file.

    Parsers raise what the broken bytes happen to lead to: KeyError, RecursionError,
    errors of zlib, of SQLite, of memory.

    Parameters
    ----------
    path
        The file.
    problem
        What to say of it; what the parser said follows in brackets.
    always
        Say it also of an error that names the file already.

    Raises
    ------
    ValueError
        If the block raises anything.

    Examples
    --------
    >>> with naming("a.npz"):
    ...     raise KeyError("z")
    Traceback (most recent call last):
    ValueError: a.npz is damaged (KeyError: 'z')
    """
    try:
        yield
    except Exception as error:
        named = isinstance(error, ValueError) and str(path) in str(error)
        if named and not always:
            raise
        raise ValueError(f"{path} {problem} ({reason(error)})") from error


def reason(error: BaseException) -> str:
    """Say in one short line what an error is.

    Examples
    --------
    >>> reason(ValueError("no  atoms")), reason(KeyError("z")), reason(EOFError())
    ('no atoms', "KeyError: 'z'", 'EOFError')
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, KeyError) and error.args[0] in ("D", "T"):
        return f"{error.args[0]} is no element that ASE knows: write H"
    if type(error).__name__ == "UnknownFileTypeError":
        return "neither suffix nor content tell a format that ASE knows"
    text = " ".join(str(error).split())
    if isinstance(error, AssertionError) and not text:
        return "the content is not of the format that the suffix names"
    if len(text) > 500:
        text = text[:500] + " ..."
    if not text:
        return type(error).__name__
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}"
