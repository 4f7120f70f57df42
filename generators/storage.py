"""Generated molecules on disk: extxyz, ASE databases, SDF with bonds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from equicalc.data.damage import naming
from equicalc.data.databases import ase_database
from equicalc.data.readers import read_structures

from .structures import ARRAYS

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "SUFFIXES",
    "append_structures",
    "check_format",
    "read_molecules",
    "written_molecules",
]

SUFFIXES = (".extxyz", ".db", ".sdf")
WRITTEN = 1e-6
"""Angstrom that positions in a file may differ from those that were written."""
PROVENANCE = (
    "generator",
    "weights",
    "rules",
    "valid_only",
    "seed",
    "molecule",
    "complete",
    "log_prob",
    "focus_temperature",
    "position_temperature",
)


def append_structures(path: str | Path, molecules: Sequence[Atoms]) -> int:
    """Add molecules to a file with where they come from.

    Parameters
    ----------
    path
        ``.extxyz``, ``.db`` (an ASE database, arrays under ``data``), or ``.sdf``
        (with bonds; molecules without an assignment of bond orders are left out).
    molecules
        Made by `equicalc.generators.Builder`.

    Returns
    -------
    int
        How many were written.

    Raises
    ------
    ValueError
        For another suffix.
    """
    path = check_format(path)
    if path.suffix == ".db":
        _append_database(path, molecules)
    elif path.suffix == ".sdf":
        return _append_sdf(path, molecules)
    elif molecules:
        from ase.io import write

        write(path, list(molecules), append=True)
    return len(molecules)


def check_format(path: str | Path) -> Path:
    """Return the path; raise ValueError if its suffix is not one of `SUFFIXES`."""
    if Path(path).suffix not in SUFFIXES:
        raise ValueError(
            f"{path}: molecules are written as {', '.join(SUFFIXES)}; choose one"
        )
    return Path(path)


def written_molecules(
    path: str | Path, seed: int, given: Atoms | None = None, **made: float | str
) -> tuple[int, int]:
    """Return how many molecules a file has, and the number of the first to make.

    Parameters
    ----------
    path
        An extxyz file or a database; (0, 0) if it does not exist.
    seed
        That its molecules must be of.
    given
        What they must have grown from; by default nothing.
    **made
        What else the ``info`` of its molecules must say, ``focus_temperature`` or
        ``rules`` for instance, where it says it.

    Raises
    ------
    ValueError
        If the file cannot be continued.
    """
    path = Path(path)
    if not path.exists():
        return 0, 0
    if path.suffix == ".sdf":
        raise ValueError(f"{path}: an SDF cannot be continued; write extxyz, or a .db")
    if path.suffix == ".extxyz":
        _drop_cut_frame(path)
    molecules = read_molecules(path)
    if molecules:
        _require_fragment(molecules[-1], given, path)
    last = molecules[-1].info if molecules else {"seed": seed, "molecule": -1}
    for name, value in made.items():
        if not _same(last.get(name, value), value):
            raise ValueError(
                f"{path} ends with a molecule of {name} {last[name]}, not {value}: "
                "give that again, or another file"
            )
    if last.get("seed") != seed or not isinstance(last.get("molecule"), Integral):
        raise ValueError(
            f"{path} ends with a molecule of seed {last.get('seed')}, not {seed}: "
            "give that --seed, or another file"
        )
    return len(molecules), int(last["molecule"]) + 1


def _same(found: object, value: float | str) -> bool:
    """Whether what a file says is what is asked for, but for rounding."""
    if isinstance(value, str):
        return str(found) == value
    return isinstance(found, Real | np.bool_) and bool(np.isclose(float(found), value))


def _require_fragment(molecule: Atoms, given: Atoms | None, path: Path) -> None:
    """Raise ValueError if a molecule has grown from something else than was given."""
    steps = molecule.arrays.get("gen_step")
    if steps is None:
        return
    there = molecule[steps < 0]
    before, now = (
        "nothing" if one is None or not len(one) else one.get_chemical_formula()
        for one in (there, given)
    )
    if before != now:
        where = ""
    elif given is None or (
        np.array_equal(there.numbers, given.numbers)
        and np.allclose(there.positions, given.positions, rtol=0, atol=WRITTEN)
    ):
        return
    else:
        where = " at these positions"
    raise ValueError(
        f"{path} ends with a molecule that has grown from {before}, not from "
        f"{now}{where}: give that again, or another file"
    )


def _drop_cut_frame(path: Path) -> None:
    """Remove the end of an extxyz file that was killed within a structure."""
    with naming(path, "is no extended XYZ"), path.open("r+b") as file:
        whole = 0
        while head := file.readline():
            lines = [head, *islice(file, int(head) + 1)]
            if len(lines) < int(head) + 2 or not lines[-1].endswith(b"\n"):
                break
            whole = file.tell()
        file.truncate(whole)


def read_molecules(path: str | Path) -> list[Atoms]:
    """Read what `append_structures` wrote, with the provenance where the format has it.

    Parameters
    ----------
    path
        An ``.extxyz``, a ``.db``, or another format of ASE.
    """
    if not Path(path).stat().st_size:
        return []
    if Path(path).suffix != ".db":
        return list(read_structures(path))
    with naming(path, "is no database of molecules that can be read"):
        return _read_database(Path(path))


def _read_database(path: Path) -> list[Atoms]:
    from ase.db import connect

    molecules = []
    for row in connect(path).select():
        atoms = row.toatoms()
        atoms.info |= row.key_value_pairs
        for name in ARRAYS:
            if name in row.data:
                atoms.set_array(name, np.asarray(row.data[name]))
        molecules.append(atoms)
    return molecules


def _append_database(path: Path, molecules: Sequence[Atoms]) -> None:
    database = ase_database(path)
    for atoms in molecules:
        pairs = {key: atoms.info[key] for key in PROVENANCE if key in atoms.info}
        arrays = {key: atoms.arrays[key] for key in ARRAYS if key in atoms.arrays}
        database.write(atoms, key_value_pairs=pairs, data=arrays)


def _append_sdf(path: Path, molecules: Sequence[Atoms]) -> int:
    from rdkit import Chem

    from .metrics.validity import valid_molecule

    written = 0
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
            written += 1
    return written
