"""How often a molecule that lost a hydrogen is completed to a valid one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import numpy as np

from .validity import valid_molecule

if TYPE_CHECKING:
    from ase import Atoms

    from equicalc.generators.builder import Builder

__all__ = ["valid_completion_rate"]


def valid_completion_rate(
    builder: Builder, molecules: Iterable[Atoms], seed: int = 0
) -> float:
    """Return the share of valid completions of molecules without a hydrogen, percent.

    Of every molecule a random hydrogen is removed, and one completion is made.

    Parameters
    ----------
    builder
        Completes.
    molecules
        Whole ones, of the training set or unseen; those without a hydrogen, or with
        hydrogens only, are left out.
    seed
        Of the hydrogens and of the completions.

    Raises
    ------
    ValueError
        If no molecule has a hydrogen.

    References
    ----------
    .. [1] Daigavane et al., "Symphony", ICLR 2024, section 4.3.
    """
    rng = np.random.default_rng(seed)
    fragments: list[Atoms] = []
    for atoms in molecules:
        hydrogens = np.flatnonzero(atoms.numbers == 1)
        if 0 < len(hydrogens) < len(atoms):
            fragment = cast("Atoms", atoms.copy())
            del fragment[int(rng.choice(hydrogens))]
            fragments.append(fragment)
    if not fragments:
        raise ValueError("no molecule has a hydrogen that could be removed")
    completed = builder.complete_each(fragments, seed)
    valid = [valid_molecule(atoms) is not None for atoms in completed]
    return 100 * sum(valid) / len(valid)
