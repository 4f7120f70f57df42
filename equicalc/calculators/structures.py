"""What can be wrong with a structure, found and said before a model sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, InputError
from ase.data import chemical_symbols

#: Two atoms closer than this (Angstrom) are one atom entered twice.
MIN_DISTANCE = 0.1
#: Partial charges read from a file add up to zero only so well.
TOLERANCE = 0.01


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


def electronic_state(atoms: Atoms) -> tuple[float, float]:
    """Return the total charge and the number of unpaired electrons asked for.

    Parameters
    ----------
    atoms : Atoms
        ``atoms.info["charge"]`` (e) goes before the sum of the initial charges, and
        ``atoms.info["spin"]`` (the multiplicity 2S + 1; 0 counts as 1) before that of
        the initial magnetic moments.

    Raises
    ------
    InputError
        If one of them is not a finite number.

    Examples
    --------
    >>> hydroxide = Atoms("OH", info={"charge": -1})
    >>> electronic_state(hydroxide)
    (-1.0, 0.0)
    """
    if "charge" in atoms.info:
        charge = _number(atoms.info["charge"], 'atoms.info["charge"]')
    else:
        charge = _number(atoms.get_initial_charges().sum(), "sum of initial charges")
    if "spin" in atoms.info:
        spin = _number(atoms.info["spin"], 'atoms.info["spin"]')
        return charge, max(spin - 1.0, 0.0)
    moments = atoms.get_initial_magnetic_moments().sum()
    return charge, abs(_number(moments, "sum of initial magnetic moments"))


def check_neutral_closed_shell(atoms: Atoms) -> None:
    """Refuse a charged or open-shell structure.

    Raises
    ------
    InputError
        If the structure asks for a charge or for unpaired electrons, see
        `electronic_state`.
    """
    charge, unpaired = electronic_state(atoms)
    if abs(charge) > TOLERANCE or unpaired > TOLERANCE:
        raise InputError(
            f"the structure has charge {charge:+g} and {unpaired:g} unpaired "
            "electrons, but this model knows neutral closed shells only and would "
            "ignore both: reset them in atoms.info, initial charges and magnetic "
            'moments, or pass other_states="ignore"'
        )


def _number(value: Any, name: str) -> float:
    try:
        number = float(value) if np.ndim(value) == 0 else np.nan
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise InputError(
            f"{name} is {value!r}: give one finite number, or leave it out"
        )
    return number


def _shortened(indices: np.ndarray, most: int = 5) -> str:
    shown = ", ".join(str(i) for i in indices[:most])
    return f"{shown}, ..." if len(indices) > most else shown
