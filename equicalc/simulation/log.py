"""The table of a run: a CSV file with a line for each recorded step."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Self

import numpy as np

from equicalc.data.damage import naming
from equicalc.simulation.files import open_text


class Log:
    """Rows kept in memory and, if there is a path, appended to a CSV file.

    Parameters
    ----------
    path
        The file; None keeps the rows in memory only.
    keep
        Bytes of an existing file to go on after; 0 starts a new file. Without a path,
        of the file that a later run may go on with.

    Raises
    ------
    ValueError
        If the existing file is shorter, or no log.
    """

    def __init__(self, path: str | Path | None, keep: int = 0) -> None:
        self._rows: list[dict[str, float]] = []
        self._file: io.TextIOBase | None = None
        self._kept = keep
        if path is None:
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open_text(path, keep)
        if keep:
            columns = read_log(path)
            self._rows = [
                dict(zip(columns, map(float, row)))
                for row in zip(*columns.values(), strict=True)
            ]

    def append(self, row: dict[str, float]) -> None:
        """Add a row; it is on disk when this returns."""
        self._rows.append(row)
        if self._file is None:
            return
        if len(self._rows) == 1:
            self._file.write(",".join(row) + "\n")
        self._file.write(",".join(f"{value:.12g}" for value in row.values()) + "\n")
        self._file.flush()

    def mark(self) -> int:
        """How far the file is good, in bytes."""
        return self._kept if self._file is None else self._file.tell()

    def columns(self) -> dict[str, np.ndarray]:
        """Name -> values, one for each row."""
        names = self._rows[0] if self._rows else {}
        return {name: np.array([row[name] for row in self._rows]) for name in names}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def read_log(path: str | Path) -> dict[str, np.ndarray]:
    """Columns of a log: name -> values.

    Raises
    ------
    ValueError
        If the file is not a table of numbers under a line of names.
    """
    with naming(path, "is not a log of numbers"):
        with Path(path).open(newline="") as file:
            names, *rows = [row for row in csv.reader(file) if row] or [[]]
        values = np.array(rows, dtype=float).reshape(len(rows), len(names))
    return dict(zip(names, values.T))
