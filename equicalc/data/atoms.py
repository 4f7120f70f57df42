"""ASE atoms to graphs and to records of packed data sets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from equicalc.data.qm9 import TARGETS, as_fields
from equicalc.graph import LABELS, make_graph

if TYPE_CHECKING:
    from ase import Atoms
    from torch_geometric.data import Data

__all__ = ["atoms_labels", "atoms_to_graph", "atoms_to_record"]


def atoms_labels(
    atoms: Atoms, keys: Mapping[str, str] | None = None
) -> dict[str, NDArray[Any]]:
    """Collect the labels that atoms carry; nothing is ever calculated.

    Parameters
    ----------
    atoms
        Labels are the results of the calculator, as long as they belong to the present
        positions. An array ``charges`` counts too.
    keys
        Where else to look: label -> name in ``atoms.info`` or ``atoms.arrays``, for
        instance ``{"energy": "REF_energy"}``.

    Returns
    -------
    dict
        Some of `equicalc.graph.LABELS`, in the units of ASE and shaped as there; the
        stress is a (3, 3) matrix.

    Raises
    ------
    ValueError
        If a name in ``keys`` is not found.

    Examples
    --------
    >>> from ase import Atoms
    >>> atoms_labels(Atoms("H", info={"E": -13.6}), keys={"energy": "E"})
    {'energy': array(-13.6)}
    """
    keys = keys or {}
    labels = {}
    for name in LABELS:
        if name in keys:
            value = _stored(atoms, keys[name], name)
        else:
            value = _calculated(atoms, name)
        if value is not None:
            labels[name] = np.asarray(value, dtype=np.float64)
    if "stress" in labels:
        labels["stress"] = _stress_matrix(labels["stress"])
    return labels


def _stored(atoms: Atoms, key: str, label: str) -> object:
    for place in (atoms.info, atoms.arrays):
        if key in place:
            return place[key]
    raise ValueError(
        f"no {key!r} for the {label} of {atoms.get_chemical_formula() or 'no atoms'}; "
        f"its info has {sorted(map(str, atoms.info))}, its arrays have "
        f"{sorted(atoms.arrays)}"
    )


def _calculated(atoms: Atoms, label: str) -> object:
    """Return a result that the calculator has at hand for these very atoms."""
    calc: Any = atoms.calc
    if calc is not None and label in getattr(calc, "results", {}):
        if not calc.check_state(atoms):
            return calc.results[label]
    elif label == "charges" and label in atoms.arrays:
        return atoms.arrays[label]
    return None


def _stress_matrix(stress: NDArray[Any]) -> NDArray[Any]:
    """Stress (3, 3) from ASE's six numbers xx yy zz yz xz xy, or from a matrix."""
    if stress.size == 9:
        return stress.reshape(3, 3)
    if stress.size != 6:
        raise ValueError(f"stress has shape {stress.shape}; (6,) or (3, 3) needed")
    return stress.reshape(6)[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]


def atoms_to_graph(
    atoms: Atoms,
    cutoff: float,
    dtype: torch.dtype = torch.float64,
    keys: Mapping[str, str] | None = None,
) -> Data:
    """Build the graph of ASE atoms, with the labels that they carry.

    Parameters
    ----------
    atoms
        At least one atom; only real elements.
    cutoff : Angstrom
        Join atoms nearer than this.
    dtype
        Precision of positions, cell and labels; the energy is always float64.
    keys
        As for `atoms_labels`.

    Returns
    -------
    Data
        See `equicalc.graph`.

    Raises
    ------
    ValueError
        If there is no atom, a dummy atom, a number that is not finite, or a periodic
        direction without a cell.

    Examples
    --------
    >>> from ase.build import molecule
    >>> graph = atoms_to_graph(molecule("H2O"), cutoff=5.0)
    >>> graph.z.tolist(), graph.num_edges
    ([8, 1, 1], 6)
    """
    _check_elements(atoms)
    positions = atoms.get_positions()
    if dtype == torch.float32:
        positions = positions.astype(np.float32)
    return make_graph(
        atoms.numbers,
        positions,
        atoms.cell.array,
        atoms.pbc,
        cutoff=cutoff,
        **atoms_labels(atoms, keys),
    )


def atoms_to_record(
    atoms: Atoms,
    keys: Mapping[str, str] | None = None,
    properties: Collection[str] = (),
) -> dict[str, NDArray[Any]]:
    """Return what a packed data set stores of ASE atoms.

    Parameters
    ----------
    atoms
        With labels; ``atoms.info["group"]`` and ``atoms.info["kind"]`` are kept if they
        are integers, for text there is of another meaning (a space group, say).
    keys
        As for `atoms_labels`.
    properties
        Out of `equicalc.data.qm9.TARGETS`: those that ``atoms.info`` has under these
        names, in their units, are kept too. ``U0`` becomes the energy.

    Returns
    -------
    dict
        Some of `equicalc.data.packed.FIELDS`. A cell is kept for periodic atoms only.

    Raises
    ------
    ValueError
        As `atoms_to_graph`, or if a property is no number.

    Examples
    --------
    >>> from ase import Atoms
    >>> sorted(atoms_to_record(Atoms("H", info={"group": 3})))
    ['group', 'pos', 'z']
    >>> atoms_to_record(Atoms("H", info={"gap": 9.1}), properties=["gap"])["gap"]
    array(9.1)
    """
    _check_elements(atoms)
    record: dict[str, Any] = {"z": atoms.numbers, "pos": atoms.get_positions()}
    if atoms.pbc.any():
        record |= {"cell": atoms.cell.array, "pbc": atoms.pbc}
    for name in ("group", "kind"):
        if isinstance(number := atoms.info.get(name), (int, np.integer)):
            record[name] = np.asarray(number, dtype=np.int64)
    return record | atoms_labels(atoms, keys) | _properties(atoms, properties)


def _properties(atoms: Atoms, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return properties that the info of atoms has, under names of packed data sets."""
    found = {}
    for name in TARGETS.keys() & names & atoms.info.keys():
        try:
            found[name] = np.asarray(float(atoms.info[name]))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the {name} of {atoms.get_chemical_formula()} is {atoms.info[name]!r}:"
                f" one number is needed, in {TARGETS[name].unit}"
            ) from error
    return as_fields(found)


def _check_elements(atoms: Atoms) -> None:
    if len(atoms) == 0:
        raise ValueError("there are no atoms: at least one is needed")
    dummies = np.flatnonzero(atoms.numbers < 1)
    if dummies.size:
        raise ValueError(
            f"atom {dummies[0]} is a dummy, {atoms.symbols[dummies[0]]!r} (atomic "
            "number 0); remove it or give it an element"
        )
