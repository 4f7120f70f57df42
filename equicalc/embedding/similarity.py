"""Which structures of a list are most like a given one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from equicalc.embedding.features import chosen_irreps

if TYPE_CHECKING:
    from equicalc.embedding.embedder import ByIrrep, Embedder


class Nearest(NamedTuple):
    """The most similar structures, the nearest first.

    Attributes
    ----------
    indices : (k,) or (n_queries, k)
        Places in the indexed list.
    distances : (k,) or (n_queries, k)
        In units in which every irrep of the indexed list has a spread of 1.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.floating]


class SimilarityIndex:
    """Structures to be searched by similarity of what a network sees in them.

    Structures are compared by the invariants of their embedding (level ``"molecule"``),
    so neither rotation nor the order of atoms matters. The invariants of every irrep
    are scaled to a root mean square deviation of 1 in the indexed list: each counts the
    same. The search is exact.

    Parameters
    ----------
    embedder : Embedder
        What describes the structures.
    structures : iterable of Atoms
        The list to search.
    irreps : sequence of str, optional
        Compare these only, ``["0e"]`` say; all by default.

    Raises
    ------
    ValueError
        If there is no structure, or no such irrep, or none is asked for.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from equicalc.embedding import Embedder
    >>> embedder = Embedder.from_pretrained("potential", device="cpu")
    >>> names = ["CH3OH", "C6H6", "CH3CH2OH", "C5H5N"]
    >>> index = embedder.index([molecule(name) for name in names])
    >>> [names[k] for k in index.nearest(molecule("C6H6"), k=2).indices]
    ['C6H6', 'C5H5N']
    """

    def __init__(
        self,
        embedder: Embedder,
        structures: Iterable[Atoms],
        irreps: Sequence[str] | None = None,
    ) -> None:
        self.embedder = embedder
        self.irreps = chosen_irreps(embedder.irreps, irreps)
        invariants = embedder.invariants(structures)
        self._scale = {name: _spread(invariants[name]) for name in self.irreps}
        self._points = self._scaled(invariants)

    def __len__(self) -> int:
        return len(self._points)

    def nearest(self, structures: Atoms | Iterable[Atoms], k: int = 5) -> Nearest:
        """Find the k most similar structures.

        Parameters
        ----------
        structures
            One query or many.
        k
            How many, at most as many as are indexed.

        Returns
        -------
        Nearest
            Of one structure arrays (k,), of many (n_queries, k).

        Raises
        ------
        ValueError
            If k is not from 1 to the number of indexed structures.
        """
        if not 1 <= k <= len(self):
            raise ValueError(
                f"k = {k} of {len(self)} structures; give 1 to {len(self)}"
            )
        points = self._scaled(self.embedder.invariants(structures))
        distances = cdist(points, self._points)  # (n_queries, n)
        indices = np.argsort(distances, axis=1, kind="stable")[:, :k]
        found = Nearest(indices, np.take_along_axis(distances, indices, axis=1))
        if isinstance(structures, Atoms):
            return Nearest(found.indices[0], found.distances[0])
        return found

    def _scaled(self, invariants: ByIrrep) -> NDArray[np.float64]:
        blocks = [invariants[name] / self._scale[name] for name in self.irreps]
        return np.concatenate(blocks, axis=1).astype(np.float64)


def _spread(points: NDArray[np.floating]) -> float:
    """Root mean square distance from the mean; 1 if all are alike."""
    deviation = points - points.mean(axis=0)
    spread = float(np.sqrt(np.square(deviation).sum(axis=1).mean()))
    return spread if spread > 1e-6 * float(np.abs(points).max(initial=1e-30)) else 1.0
