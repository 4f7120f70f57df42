"""Labelled crystals, to learn from."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from equicalc.data.damage import naming

from .crystal import MolecularCrystal

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["LabelledSet", "read_labelled"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledSet:
    """Crystals and their interaction energies.

    Attributes
    ----------
    crystals
        Of one or many molecules.
    energies : (n,)
        kJ/mol per molecule.
    formulas : (n,)
        Of the molecules.
    inputs : (n, n_inputs) or None
        Of a `LatticePaper`.
    """

    crystals: Sequence[MolecularCrystal]
    energies: NDArray[np.float64]
    formulas: NDArray[np.str_]
    inputs: Tensor | None = None

    def __len__(self) -> int:
        return len(self.crystals)

    @cached_property
    def kinds(self) -> NDArray[np.int64]:
        """Numbers (n,), equal for equal formulas."""
        return np.unique(self.formulas, return_inverse=True)[1]

    def subset(self, rows: NDArray[np.int64]) -> LabelledSet:
        """Return some of the crystals."""
        chosen = [self.crystals[row] for row in rows]
        inputs = None if self.inputs is None else self.inputs[rows]
        return LabelledSet(chosen, self.energies[rows], self.formulas[rows], inputs)


def read_labelled(database: str | Path) -> tuple[LabelledSet, str]:
    """Read what `label_crystals` wrote; crystals without an energy are left out.

    Returns
    -------
    crystals
    method
        What made the labels, with its version.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no database of labels, holds none that went well, labels of several
        methods, or of crystals that were relaxed: the database has them as they were
        before.
    """
    from ase.db import connect

    path = Path(database)
    if not path.is_file():
        raise FileNotFoundError(f"no database {path}: equicalc crystals label makes it")
    with naming(path, "is no database of labelled crystals"):
        _require_tables(path)
        rows = list(connect(path, use_lock_file=False).select())
    good = [row for row in rows if row.get("status") == "ok" and "interaction" in row]
    if not good:
        raise ValueError(f"{path}: none of {len(rows)} crystals has an energy")
    methods = {f"{row.method} {row.version}".strip() for row in good}
    if len(methods) > 1:
        raise ValueError(
            f"{path} holds labels of several methods, which do not mix: "
            f"{'; '.join(sorted(methods))}. Keep one in a database"
        )
    if any(row.get("relax") == "both" for row in good):
        raise ValueError(
            f"{path} has energies of relaxed crystals beside unrelaxed structures: "
            "label with --relax molecule or none"
        )
    if left_out := len(rows) - len(good):
        logger.warning("%s: %d of %d have no energy", path, left_out, len(rows))
    crystals = [MolecularCrystal.from_atoms(row.toatoms()) for row in good]
    energies = np.array([row.interaction for row in good])
    formulas = [one.molecules[0].get_chemical_formula() for one in crystals]
    return LabelledSet(crystals, energies, np.array(formulas)), methods.pop()


def _require_tables(path: Path) -> None:
    """Look for ASE's table: ASE would make it in anyone's database."""
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    ) as db:
        db.execute("select count(*) from systems")
