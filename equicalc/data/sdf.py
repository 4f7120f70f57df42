"""Molecules of SDF files, of which ASE reads the first only."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from ase import Atoms


def read_sdf(path: str | Path) -> Iterator[Atoms]:
    """Read the molecules of an SDF file one at a time; bonds and data are left out.

    Parameters
    ----------
    path
        The file.

    Yields
    ------
    Atoms
    """
    from ase.io import read

    lines: list[str] = []
    with Path(path).open() as file:
        for line in chain(file, ["$$$$"]):
            if line.strip() != "$$$$":
                lines.append(line)
                continue
            if "".join(lines).strip():
                yield cast("Atoms", read(StringIO("".join(lines)), format="sdf"))
            lines = []
