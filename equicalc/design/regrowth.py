"""Variants of a molecule: a part is cut off and grown anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from equicalc.data.bonds import find_bonds

if TYPE_CHECKING:
    from ase import Atoms

    from equicalc.generators import Builder, Temperature

__all__ = ["kept_fragment", "regrow"]

#: Smallest and largest share of the heavy atoms that is kept.
KEEP = (0.3, 0.8)


def kept_fragment(atoms: Atoms, seed: int, core: int = 0) -> Atoms:
    """Return a random connected part of a molecule, without hydrogens.

    Generators place heavy atoms first: hydrogens of the rest would mislead them.

    Parameters
    ----------
    atoms
        A molecule with at least one heavy atom.
    seed
        Of the choice: an atom to begin with, and how many of those nearest to it along
        bonds to keep.
    core
        Begin with the first so many heavy atoms, and keep them all.

    Raises
    ------
    ValueError
        If there are hydrogens only.

    Examples
    --------
    >>> from ase.build import molecule
    >>> fragment = kept_fragment(molecule("CH3CH2OH"), seed=0)
    >>> 1 <= len(fragment) <= 2, 1 in fragment.numbers
    (True, False)
    """
    heavy = atoms[atoms.numbers > 1]
    if not len(heavy):
        raise ValueError(f"{atoms.symbols} has no atom but hydrogens to grow from")
    rng = np.random.default_rng(seed)
    start = list(range(core)) or [int(rng.integers(len(heavy)))]
    order = _outwards(find_bonds(heavy), start)
    share = rng.uniform(*KEEP)
    fragment = heavy[order[: max(len(start), int(share * len(heavy)))]]
    fragment.info = {}
    return fragment


def regrow(
    parent: Atoms, builder: Builder, seed: int, temperature: Temperature | None = None
) -> Atoms:
    """Cut a random part off a molecule and let a generator complete the rest.

    Parameters
    ----------
    parent
        The molecule; it stays as it is.
    builder
        The generator.
    seed
        Of cut and growth.
    temperature
        As for `equicalc.generators.Builder.complete`.

    Returns
    -------
    Atoms
        As of `equicalc.generators.Builder.complete`: the kept atoms come first.
    """
    fragment = kept_fragment(parent, seed)
    [grown] = builder.complete(fragment, 1, seed, temperature=temperature)
    return grown


def _outwards(bonds: np.ndarray, start: list[int]) -> list[int]:
    """Atoms in the order of their distance along bonds; other pieces are left out."""
    order = list(start)
    for atom in order:
        partners = {int(a + b) - atom for a, b in bonds if atom in (a, b)}
        order += sorted(partners - set(order))
    return order
