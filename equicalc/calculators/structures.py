"""What can be wrong with a structure, found and said before a model sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, InputError
from ase.data import chemical_symbols

#: Two atoms closer than this (Angstrom) are one atom entered twice.
MIN_DISTANCE = 0.1


def list_of_atoms(structures: Iterable[Atoms]) -> list[Atoms]:
    """Return structures, an iterator of them too, as a list.

    Raises
    ------
    InputError
        If it is a single structure, or something else is among them.
    """
    if isinstance(structures, Atoms):
        raise InputError("compute takes a list of structures; give [atoms] for one")
    listed = list(structures)
    for index, atoms in enumerate(listed):
        if not isinstance(atoms, Atoms):
            raise InputError(
                f"structure {index} is no ase.Atoms but a {type(atoms).__name__}"
            )
    return listed


def check_elements(atoms: Atoms, elements: Sequence[int]) -> None:
    """Refuse a structure of no atoms or of atoms that the model does not know.

    Parameters
    ----------
    atoms : Atoms
        The structure.
    elements : sequence of int
        Atomic numbers that the model knows.

    Raises
    ------
    InputError
        It names the first unknown element and those that are known.

    Examples
    --------
    >>> check_elements(Atoms("OXe"), elements=[1, 8])
    Traceback (most recent call last):
        ...
    ase.calculators.calculator.InputError: element Xe (atoms 1) is unknown to this \
model, which knows H, O
    """
    if len(atoms) == 0:
        raise InputError("the structure has no atoms: give at least one")
    numbers = atoms.numbers
    if not set(numbers.tolist()) <= set(elements):
        unknown = np.flatnonzero(~np.isin(numbers, elements))
        number = numbers[unknown[0]]
        known = 0 <= number < len(chemical_symbols)
        symbol = chemical_symbols[number] if known else f"of atomic number {number}"
        where = _shortened(unknown[numbers[unknown] == numbers[unknown[0]]])
        raise InputError(
            f"element {symbol} (atoms {where}) is unknown to this model, which knows "
            f"{', '.join(chemical_symbols[z] for z in elements)}"
        )


def check_molecule(atoms: Atoms) -> None:
    """Refuse a periodic structure.

    Raises
    ------
    InputError
        If there is a periodic direction.

    Examples
    --------
    >>> check_molecule(Atoms("C", cell=[4, 4, 4], pbc=True))
    Traceback (most recent call last):
        ...
    ase.calculators.calculator.InputError: the structure is periodic, but this model \
knows molecules only: set atoms.pbc = False for a molecule in a box (pbc="F F F" in \
extended XYZ)
    """
    if atoms.pbc.any():
        raise InputError(
            "the structure is periodic, but this model knows molecules only: set "
            'atoms.pbc = False for a molecule in a box (pbc="F F F" in extended XYZ)'
        )


def check_distances(
    atoms: Atoms, src: np.ndarray, dst: np.ndarray, distance: np.ndarray
) -> None:
    """Refuse a structure in which two atoms sit on each other.

    Parameters
    ----------
    atoms : Atoms
        The structure.
    src, dst : (n_edges,)
        Atoms of every neighbour pair.
    distance : (n_edges,), Angstrom
        How far apart they are.

    Raises
    ------
    CalculationFailed
        If a pair is closer than `MIN_DISTANCE`; it names the pair.
    """
    if len(distance) == 0 or distance.min() >= MIN_DISTANCE:
        return
    pair = distance.argmin()
    i, j = dst[pair], src[pair]
    raise CalculationFailed(
        f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) are "
        f"{distance[pair]:.3g} Angstrom apart, less than {MIN_DISTANCE}: they overlap; "
        "remove one or move it"
    )


def _shortened(indices: np.ndarray, most: int = 5) -> str:
    shown = ", ".join(str(i) for i in indices[:most])
    return f"{shown}, ..." if len(indices) > most else shown
