"""Files of results that several calls share: each adds its own structures."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from equicalc.data.locking import locked

if TYPE_CHECKING:
    from ase import Atoms

Row = dict[str, object]


class Results:
    """A table and, beside it, final structures, both by the name of the structure.

    Parameters
    ----------
    table
        CSV file whose first column is the name.
    structures
        Extended XYZ file, in the order of the table, with the names in
        ``info["name"]``; None keeps a table only.
    keep
        Keep what an earlier call left in the files, but for what is added again.

    Attributes
    ----------
    earlier
        Rows that an earlier call left there, by name.
    new
        Rows that have been added.

    Raises
    ------
    ValueError
        If a file of an earlier call cannot be read.
    """

    def __init__(self, table: Path, structures: Path | None, keep: bool) -> None:
        self.table, self.structures, self.keep = table, structures, keep
        self.earlier = self._files()[0] if keep else {}
        self.new: list[Row] = []
        self._atoms: dict[str, Atoms] = {}

    def add(self, row: Row, atoms: Atoms | None = None) -> None:
        """Add what has been found for a structure; its name comes first in the row."""
        name = str(next(iter(row.values())))
        self.new.append(row)
        if atoms is not None:
            atoms.info["name"] = name
            self._atoms[name] = atoms

    def write(self) -> None:
        """Replace the files, each whole, with what other calls have added since."""
        if not self.new:
            return
        with locked(self.table, wait=True):
            rows, structures = self._files() if self.keep else ({}, {})
            rows |= {str(next(iter(row.values()))): row for row in self.new}
            structures |= self._atoms
            if self.structures is not None:
                write_structures(self.structures, list(structures.values()), "extxyz")
            write_csv(self.table, list(rows.values()))

    def _files(self) -> tuple[dict[str, Row], dict[str, Atoms]]:
        """Rows and structures that are in the files, by name."""
        from equicalc.data.frames import read_frames

        rows: dict[str, Row] = {}
        structures: dict[str, Atoms] = {}
        try:
            if self.table.exists():
                found = read_csv(self.table)
                rows = {str(next(iter(row.values()))): row for row in found}
            if self.structures is not None and self.structures.exists():
                frames = list(read_frames(self.structures))
                # a name such as F would come back from the file as False
                if len(frames) < len(rows):
                    raise ValueError(f"{len(rows)} rows, {len(frames)} structures")
                # one more was written when a call was killed before its row
                structures = dict(zip(rows, frames))
        except Exception as error:  # ASE's readers raise whatever they meet
            raise ValueError(
                f"the results in {self.table.parent} cannot be read "
                f"({type(error).__name__}: {error}); move them away, or give "
                "--overwrite"
            ) from error
        return rows, structures


@contextmanager
def kept(save: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Give what saves now and then, for a tenth of the time at most; save at the end.

    At the end, too, when that is an error or Ctrl-C.
    """
    took, ended = 0.0, time.monotonic()

    def now_and_then() -> None:
        nonlocal took, ended
        begin = time.monotonic()
        if begin - ended >= 9 * took:
            save()
            ended = time.monotonic()
            took = ended - begin

    try:
        yield now_and_then
    finally:
        save()


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows, with all digits; columns that a row lacks stay empty."""
    columns = dict.fromkeys(column for row in rows for column in row)
    with _replaced(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(columns), restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_structures(path: Path, structures: Sequence[Atoms], format: str = "") -> None:
    """Write structures; without a format, in that which the file's name stands for."""
    from ase.io import write
    from ase.io.formats import filetype

    format = format or filetype(str(path), read=False)
    with _replaced(path) as part:
        write(part, structures, format=format)


def read_csv(path: Path) -> list[Row]:
    """Read rows that `write_csv` wrote; the first column stays text.

    Raises
    ------
    ValueError
        If it is no such table.
    """
    try:
        with path.open(newline="") as file:
            header, *lines = csv.reader(file, strict=True)
        return [
            {header[0]: line[0]}
            | {k: _number(text) for k, text in zip(header[1:], line[1:], strict=True)}
            for line in lines
        ]
    except (ValueError, IndexError, csv.Error) as error:
        raise ValueError(
            f"{path} is not a table of an earlier call ({error}); move it away, or "
            "give --overwrite"
        ) from error


def _number(text: str) -> object:
    """Return the number that a text stands for, or the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Give a temporary file, which takes the name once it is whole."""
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    part.unlink(missing_ok=True)  # of a call that was killed
    yield part
    part.replace(path)
