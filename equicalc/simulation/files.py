"""Text files of a run: opened where an earlier part of the run left off."""

from __future__ import annotations

import io
from pathlib import Path


def open_text(path: Path, keep: int) -> io.TextIOWrapper:
    """Open a text file for writing after its first `keep` bytes; 0 starts it anew.

    Raises
    ------
    ValueError
        If it is shorter.
    """
    if not keep:
        return path.open("w", newline="")
    size = path.stat().st_size if path.exists() else 0
    if size < keep:
        raise ValueError(too_short(path, f"{size} of {keep} bytes"))
    file = path.open("r+", newline="")
    file.truncate(keep)
    file.seek(0, io.SEEK_END)
    return file


def too_short(path: Path, there: str) -> str:
    """Say that a file of a run is not what the restart file was written for.

    Examples
    --------
    >>> too_short(Path("a.csv"), "3 of 9 bytes")
    'a.csv is missing or cut short (3 of 9 bytes), so that its run cannot be resumed; \
bring the whole file back, or start a new run'
    """
    return (
        f"{path} is missing or cut short ({there}), so that its run cannot be "
        "resumed; bring the whole file back, or start a new run"
    )
