"""XYZ and CIF files: a look at what they announce before anything is parsed."""

import bz2
import gzip
import lzma
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

__all__ = ["check_text"]

_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_LONGEST = 1 << 24  # bytes of a line
_LONGEST_IN_CIF = 1 << 16  # the standard has 2048
_MANY = 1_000_000  # atoms that a parser may look for in vain


def check_text(path: str | Path) -> None:
    """Refuse a text that would keep a parser busy for minutes or fill the memory.

    Parsers of XYZ believe the numbers of atoms and of columns at the head of a frame,
    however large; those of CIF take quadratic time for a line. What else may be wrong
    is left to them, and files with other suffixes pass.

    Parameters
    ----------
    path
        The file, perhaps compressed.

    Raises
    ------
    ValueError
        If there is such a frame or line, or nothing at all, or it is a folder.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.xyz"
    >>> _ = file.write_text("1000000000000")
    >>> check_text(file)
    Traceback (most recent call last):
    ValueError: frame 0 announces 1000000000000 atoms, 0 lines follow
    """
    path = Path(path)
    if path.is_dir() and path.suffix != ".bundle":
        raise ValueError("it is a folder: name the files in it")
    if path.is_file() and not path.stat().st_size:
        raise ValueError("the file is empty")
    opener = _OPENERS.get(path.suffix.lower())
    kind = Path(path.stem if opener else path.name).suffix.lower()
    if kind not in (".xyz", ".extxyz", ".cif"):
        return
    with cast(BinaryIO, (opener or open)(path, "rb")) as file:
        if kind == ".cif":
            for _ in _lines(file, _LONGEST_IN_CIF):
                pass
            return
        number = 0
        while _skip_frame(file, number):
            number += 1


def _lines(file: BinaryIO, longest: int = _LONGEST) -> Iterator[bytes]:
    while line := file.readline(longest):
        if len(line) == longest:
            raise ValueError(f"a line has more than {longest} bytes")
        yield line


def _skip_frame(file: BinaryIO, number: int) -> bool:
    """Read one frame; False at the end, and where only a parser can tell."""
    head = next(_lines(file), b"").strip()
    if not head.isdigit():
        return False
    n_atoms = int(head[:16])  # no file has more
    found = 0
    for line in islice(_lines(file), n_atoms + 1):
        if not found and (columns := re.search(rb":\w:(\d{5,})", line)):
            raise ValueError(f"frame {number} announces {columns[1].decode()} columns")
        found += 1
    if found <= n_atoms > _MANY:
        raise ValueError(
            f"frame {number} announces {n_atoms} atoms, {found} lines follow"
        )
    return found > n_atoms
