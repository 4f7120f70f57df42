"""Generated molecules on disk: extxyz, ASE databases, SDF with bonds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .structures import ARRAYS

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["SUFFIXES", "append_structures", "check_format", "next_molecule"]

SUFFIXES = (".extxyz", ".db", ".sdf")
PROVENANCE = ("generator", "seed", "molecule", "complete", "log_prob")


def append_structures(path: str | Path, molecules: Sequence[Atoms]) -> None:
    """Add molecules to a file with where they come from.

    Parameters
    ----------
    path
        ``.extxyz``, ``.db`` (an ASE database, arrays under ``data``), or ``.sdf``
        (with bonds; molecules without an assignment of bond orders are left out).
    molecules
        Made by `equicalc.generators.Builder`.

    Raises
    ------
    ValueError
        For another suffix.
    """
    path = check_format(path)
    if path.suffix == ".db":
        _append_database(path, molecules)
    elif path.suffix == ".sdf":
        _append_sdf(path, molecules)
    elif molecules:
        from ase.io import write

        write(path, list(molecules), append=True)


def check_format(path: str | Path) -> Path:
    """Return the path; raise ValueError if its suffix is not one of `SUFFIXES`."""
    if Path(path).suffix not in SUFFIXES:
        raise ValueError(
            f"{path}: molecules are written as {', '.join(SUFFIXES)}; choose one"
        )
    return Path(path)


def next_molecule(path: str | Path, seed: int) -> int:
    """Return the number of the first molecule that a file does not have yet.

    Parameters
    ----------
    path
        An extxyz file or a database; 0 if it does not exist.
    seed
        That its molecules must be of.

    Raises
    ------
    ValueError
        If the file cannot be continued.
    """
    path = Path(path)
    if not path.exists():
        return 0
    if path.suffix == ".sdf":
        raise ValueError(f"{path}: an SDF cannot be continued; write extxyz, or a .db")
    info = _last_provenance(path)
    if info.get("seed") != seed or "molecule" not in info:
        raise ValueError(
            f"{path} ends with a molecule of seed {info.get('seed')}, not {seed}: "
            "give that --seed, or another file"
        )
    return int(info["molecule"]) + 1


def _last_provenance(path: Path) -> Mapping[str, Any]:
    """Say where the last molecule of a file comes from."""
    if path.suffix == ".db":
        from ase.db import connect

        rows = list(connect(path).select(sort="-id", limit=1, include_data=False))
        return rows[0].key_value_pairs if rows else {}
    from ase.io import read

    return cast("Atoms", read(path, index=-1)).info


def _append_database(path: Path, molecules: Sequence[Atoms]) -> None:
    from ase.db import connect

    database = connect(path)
    for atoms in molecules:
        pairs = {key: atoms.info[key] for key in PROVENANCE if key in atoms.info}
        arrays = {key: atoms.arrays[key] for key in ARRAYS if key in atoms.arrays}
        database.write(atoms, key_value_pairs=pairs, data=arrays)


def _append_sdf(path: Path, molecules: Sequence[Atoms]) -> None:
    from rdkit import Chem

    from .metrics.validity import valid_molecule

    with path.open("a") as file:
        for atoms in molecules:
            if (molecule := valid_molecule(atoms)) is None:
                continue
            for key in PROVENANCE:
                if key in atoms.info:
                    molecule.SetProp(key, str(np.asarray(atoms.info[key])))
            writer = Chem.SDWriter(file)
            writer.write(molecule)
            writer.close()
