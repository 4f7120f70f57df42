"""Tables that a run appends to while it goes."""

from __future__ import annotations

import csv
from pathlib import Path


class CsvLog:
    """A table on disk that grows row by row and forgets rows after a given step.

    Parameters
    ----------
    path
        The file; an existing one is continued.
    step
        Rows of later steps belong to a part of the run that was lost: they go.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.rows = [row for row in read_log(path) if int(row["step"]) <= step]
        temporary = path.with_name(f".{path.name}")
        with temporary.open("w", newline="") as file:
            if self.rows:
                writer = csv.DictWriter(file, list(self.rows[0]))
                writer.writeheader()
                writer.writerows(self.rows)
        temporary.replace(path)

    def write(self, row: dict[str, float]) -> None:
        """Append a row; the first one fixes the columns, others are left out."""
        columns = list(self.rows[0] if self.rows else row)
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            if not self.rows:
                writer.writeheader()
                self.rows.append({name: str(value) for name, value in row.items()})
            writer.writerow(row)


def read_log(path: Path) -> list[dict[str, str]]:
    """Return the whole rows of a log; a line that a crash cut short is left out."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]
