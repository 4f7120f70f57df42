"""QM9 as NumPy arrays, in two layouts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from equicalc.data.arrays import load_arrays, read_names
from equicalc.data.qm9 import TARGETS, as_fields
from equicalc.units import HARTREE

__all__ = ["read_qm9_arrays", "read_qm9_tables"]


def read_qm9_arrays(path: str | Path) -> Iterator[dict[str, Any]]:
    """Read QM9 from arrays laid end to end.

    Parameters
    ----------
    path
        ``.npz`` with ``index``, ``n_atoms``, ``U0`` (Hartree) of each molecule, and
        ``z``, ``pos`` (Angstrom) of all atoms.

    Yields
    ------
    dict
        Records for `equicalc.data.write_packed`; the energy is U0 in eV, the group
        is the index.

    Raises
    ------
    ValueError
        If the file is damaged, or arrays are missing or do not fit together.
    """
    data = load_arrays(path, needed=("index", "n_atoms", "z", "pos", "U0"))
    n_atoms = data["n_atoms"].astype(np.int64)
    lengths = {name: len(data[name]) for name in data}
    n, total = len(n_atoms), int(n_atoms.sum())
    expected = {"index": n, "n_atoms": n, "U0": n, "z": total, "pos": total}
    if lengths != expected:
        raise ValueError(
            f"{path} has arrays of lengths {lengths}; n_atoms asks for {expected}"
        )
    ends = np.cumsum(n_atoms)
    for i, (start, end) in enumerate(zip(ends - n_atoms, ends)):
        yield {
            "z": data["z"][start:end],
            "pos": data["pos"][start:end],
            "energy": HARTREE * data["U0"][i],
            "group": data["index"][i],
        }


def read_qm9_tables(path: str | Path) -> Iterator[dict[str, Any]]:
    """Read QM9, or isomers of it, from tables with a row for every molecule.

    Parameters
    ----------
    path
        ``.npz`` with ``z`` (n, atoms) and ``pos`` (n, atoms, 3) in Angstrom, filled up
        with atoms of number 0; ``prop_names`` and ``props`` (n, n_properties) in the
        units as published, see `equicalc.data.qm9.TARGETS`.

    Yields
    ------
    dict
        Records for `equicalc.data.write_packed`; the energy is U0, the group is the
        row.

    Raises
    ------
    ValueError
        If the file is damaged, arrays are missing or do not fit together, or U0 or an
        unknown property is among what is missing or there.
    """
    z, pos, props = load_arrays(path, needed=("z", "pos", "props")).values()
    names = read_names(path, "prop_names")
    if pos.shape != (*z.shape, 3) or props.shape != (len(z), len(names)):
        raise ValueError(
            f"{path} has z {z.shape}, pos {pos.shape} and props {props.shape} for "
            f"{len(names)} names; (n, atoms), (n, atoms, 3) and (n, names) are needed"
        )
    if "U0" not in names or set(names) - set(TARGETS):
        raise ValueError(
            f"{path} has the properties {names}; U0 is needed, and the others must be "
            f"among {', '.join(TARGETS)}"
        )
    values = props * [TARGETS[name].factor for name in names]
    for group, (numbers, points, row) in enumerate(zip(z, pos, values)):
        real = numbers > 0
        fields = as_fields(dict(zip(names, row)))
        yield {"z": numbers[real], "pos": points[real], "group": group, **fields}
