"""Choices among all structures of a round: duplicates, the best, the most different."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .filters import known_property, smiles_of
from .step import Choice, MissingError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Diverse", "Top", "Unique"]


class Unique(Choice):
    """Keep the first of molecules with the same SMILES, of this and earlier rounds.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from equicalc.design import Valid
    >>> twice = Valid()([molecule("CH4"), molecule("H2O"), molecule("CH4")])
    >>> [a.info["smiles"] for a in Unique()(twice)]
    ['C', 'O']
    """

    def reasons(self, structures: Sequence[Atoms], seen: Collection[str]) -> list[str]:
        """Say which ones were there before."""
        met, reasons = set(seen), []
        for atoms in structures:
            smiles = smiles_of(atoms)
            reasons.append("a duplicate" if smiles in met else "")
            met.add(smiles)
        return reasons


class Top(Choice):
    """Keep the best of a round.

    Attributes
    ----------
    n
        How many.
    by
        Property that is to be high.
    """

    n: int
    by: str = "score"

    def reasons(self, structures: Sequence[Atoms], seen: Collection[str]) -> list[str]:
        """Say which ones are not among the best."""
        values = [known_property(atoms, self.by) for atoms in structures]
        order = sorted(range(len(values)), key=lambda k: -values[k])
        rank = {k: place for place, k in enumerate(order, 1)}
        return [
            f"not among the best {self.n} by {self.by}" if rank[k] > self.n else ""
            for k in range(len(values))
        ]


class Diverse(Choice):
    """Keep structures whose embeddings lie far apart.

    The first is the best; each further one is the one farthest from all that are kept.

    Attributes
    ----------
    n
        How many.
    by
        Property that is high in the first.
    """

    n: int
    by: str = "score"

    def reasons(self, structures: Sequence[Atoms], seen: Collection[str]) -> list[str]:
        """Say which ones are like others."""
        if len(structures) <= self.n:
            return [""] * len(structures)
        if any("embedding" not in atoms.info for atoms in structures):
            raise MissingError("no embedding: the step embed must come before")
        points = np.stack([np.asarray(a.info["embedding"]) for a in structures])
        kept = [int(np.argmax([known_property(a, self.by) for a in structures]))]
        apart = np.linalg.norm(points - points[kept[0]], axis=1)
        while len(kept) < self.n:
            kept.append(int(apart.argmax()))
            last = np.linalg.norm(points - points[kept[-1]], axis=1)
            apart = np.minimum(apart, last)
        chosen = set(kept)
        return [
            "" if k in chosen else f"{distance:.3g} from one that is kept"
            for k, distance in enumerate(apart)
        ]
