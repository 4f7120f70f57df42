"""What may be given to a generator to complete."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

if TYPE_CHECKING:
    from equicalc.models import Generator

__all__ = ["check_fragment", "species_of", "start_from"]

#: Atoms nearer than this are one on top of the other, Angstrom.
OVERLAP = 0.6


def species_of(atoms: Atoms, elements: Sequence[int]) -> NDArray[np.int64]:
    """Return the index of every atom's element, (n_atoms,).

    Raises
    ------
    ValueError
        If an element is unknown; it lists the known ones.
    """
    species = np.searchsorted(elements, atoms.numbers).clip(max=len(elements) - 1)
    unknown = np.array(elements)[species] != atoms.numbers
    if unknown.any():
        found = sorted({chemical_symbols[z] for z in atoms.numbers[unknown]})
        raise ValueError(
            f"{atoms.get_chemical_formula()} has {', '.join(found)}, unknown to this "
            f"generator, which knows {', '.join(chemical_symbols[z] for z in elements)}"
        )
    return species


def start_from(
    fragment: Atoms, grow_from: Sequence[int] | None, bare: bool
) -> tuple[Atoms, list[int] | None]:
    """Return what is grown, and which of its atoms from, counted from the first.

    Parameters
    ----------
    fragment, grow_from
        Given atoms and indices, see `check_fragment`.
    bare
        Whether to leave the hydrogens out; they are counted in `grow_from`.

    Raises
    ------
    ValueError
        If nothing is left, or an index is a hydrogen's that is left out.
    """
    foci = None if grow_from is None else [int(k) % len(fragment) for k in grow_from]
    if not bare:
        return fragment, foci
    heavy = np.flatnonzero(fragment.numbers != 1).tolist()
    if not heavy:
        raise ValueError("bare takes hydrogens off, and the fragment has nothing else")
    if hydrogens := set(foci or []).difference(heavy):
        raise ValueError(
            f"grow_from has the hydrogen {min(hydrogens)}, and bare takes hydrogens "
            f"off; heavy atoms are {', '.join(map(str, heavy))}"
        )
    return fragment[heavy], None if foci is None else [heavy.index(k) for k in foci]


def check_fragment(
    fragment: Atoms, model: Generator, grow_from: Sequence[int] | None
) -> None:
    """Raise ValueError if a fragment cannot be grown; the message says why.

    Parameters
    ----------
    fragment
        Given atoms.
    model
        What is to grow it.
    grow_from
        Indices of atoms that may be grown from, or None for all.
    """
    if not isinstance(fragment, Atoms):
        raise ValueError(
            f"a {type(fragment).__name__} was given: give one molecule, an ase.Atoms"
        )
    n = len(fragment)
    if not n:
        raise ValueError("the fragment has no atoms: generate starts from nothing")
    if fragment.pbc.any():
        raise ValueError(
            f"the fragment is periodic along {fragment.pbc.tolist()}: generators know "
            "molecules only; set fragment.pbc = False"
        )
    species_of(fragment, model.elements)
    if not np.isfinite(fragment.positions).all():
        raise ValueError("a position of the fragment is not finite")
    if model.hydrogens_apart and (fragment.numbers == 1).all():
        raise ValueError(
            "the fragment has hydrogens only: give at least one other atom to grow from"
        )
    distance = fragment.get_all_distances() + 10 * np.eye(n)
    i, j = np.unravel_index(distance.argmin(), distance.shape)
    if distance[i, j] < OVERLAP:
        raise ValueError(
            f"atoms {i} and {j} of the fragment are {distance[i, j]:.2f} Angstrom "
            f"apart; at least {OVERLAP} are needed"
        )
    if grow_from is None:
        return
    if not len(grow_from):
        raise ValueError("grow_from is empty: name atoms, or leave it out for all")
    if odd := [k for k in grow_from if type(k) is bool or not isinstance(k, Integral)]:
        raise ValueError(f"grow_from has {odd[0]!r}: give indices of atoms")
    if outside := [k for k in grow_from if not -n <= k < n]:
        raise ValueError(f"grow_from {outside[0]}: the fragment has atoms 0 to {n - 1}")
    foci = fragment.numbers[list(grow_from)]
    if model.hydrogens_apart and (foci == 1).all():
        raise ValueError(
            f"grow_from {list(grow_from)} names no atom but hydrogens, which nothing "
            "is attached to"
        )
