"""Sequences of growing fragments: how a molecule is built, atom by atom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["FragmentSequences", "Order", "fragment_sequences", "pad_molecules"]

Order = Literal["nearest", "heavy-first"]


@dataclass(frozen=True)
class FragmentSequences:
    """In which order the atoms of some molecules are placed, and what else could be.

    Fragment t of a molecule is its first t atoms in this order, t = 1, 2, ...; entry
    t - 1 of `admissible` tells what may be added to it.

    Attributes
    ----------
    order : (n_molecules, n_max)
        Atom that is placed at every step; -1 after the end.
    focus : (n_molecules, n_max)
        Placed atom that it is attached to; -1 for the first atom and after the end.
    admissible : (n_molecules, n_max, n_max, n_max) bool
        Whether fragment t may grow from focus f by atom a. Nothing: the molecule is
        whole, and the thing to do is to stop.
    """

    order: NDArray[np.int64]
    focus: NDArray[np.int64]
    admissible: NDArray[np.bool_]

    def counts(self, species: NDArray[np.int64], n_species: int) -> NDArray[np.float32]:
        """Count the admissible atoms of every species at every focus.

        Scaled to a sum of 1 they are the distribution of focus and species that a
        model should predict.

        Parameters
        ----------
        species : (n_molecules, n_max)
            Index of the species of every atom, any number for padding.
        n_species
            Number of species.

        Returns
        -------
        (n_molecules, n_max, n_max, n_species)
            By fragment, focus and species.
        """
        n, n_max = self.order.shape
        one_hot = species[..., None] == np.arange(n_species)  # (n, atom, species)
        pairs = self.admissible.reshape(n, n_max * n_max, n_max).astype(np.float32)
        counts = pairs @ one_hot.astype(np.float32)
        return counts.reshape(n, n_max, n_max, n_species)


def fragment_sequences(
    z: NDArray[np.integer],
    pos: NDArray[np.floating],
    rng: np.random.Generator,
    order: Order = "heavy-first",
    tolerance: float = 0.125,
) -> FragmentSequences:
    """Draw an order in which to build each of some molecules.

    1. Begin with a random atom (`heavy-first`: a random atom other than hydrogen).
    2. Of all pairs of a placed atom and one that is not (`heavy-first`: not a hydrogen
       while there are others), keep those at most `tolerance` longer than the
       shortest. With `heavy-first`, any hydrogen may come next, at its nearest atom.
    3. One pair at random gives the focus and the atom to place; go on with 2.

    Parameters
    ----------
    z : (n_molecules, n_max)
        Atomic numbers, 0 for padding; see `pad_molecules`.
    pos : (n_molecules, n_max, 3), Angstrom
        Positions.
    rng
        Makes the random choices.
    order
        `nearest` as published, or `heavy-first`: all hydrogens last.
    tolerance
        Angstrom.

    References
    ----------
    .. [1] Daigavane et al., "Symphony: symmetry-equivariant point-centered spherical
       harmonics for molecule generation", ICLR 2024, Algorithm 1.

    Examples
    --------
    >>> z, pos = np.array([[1, 8, 1]]), np.array([[[1.0, 0, 0], [0, 0, 0], [0, 1, 0]]])
    >>> drawn = fragment_sequences(z, pos, np.random.default_rng(0))
    >>> int(drawn.order[0, 0]), drawn.focus.tolist()
    (1, [[-1, 1, 1]])
    >>> drawn.counts(z // 8, 2)[0, :, 1].tolist()  # hydrogens, oxygens left at atom 1
    [[2.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    """
    present, heavy = z > 0, z > 1
    n, n_max = z.shape
    rows = np.arange(n)
    distance = np.linalg.norm(pos[:, :, None] - pos[:, None], axis=-1)
    if order == "heavy-first":
        last = ~heavy & heavy.any(1, keepdims=True)
    else:
        last = np.zeros_like(present)
    sequence = np.full((n, n_max), -1)
    focus = np.full((n, n_max), -1)
    admissible = np.zeros((n, n_max, n_max, n_max), dtype=bool)
    # 1. a random atom
    atom = (rng.random((n, n_max)) * (present & ~last)).argmax(1)
    placed = np.zeros_like(present)
    for step in range(n_max):
        sequence[rows, step] = atom
        placed[rows, atom] = True
        # 2. pairs that may come next
        left = present & ~placed
        early = left & ~last
        is_last = np.logical_not(early.any(axis=1, keepdims=True))  # (n, 1)
        pair = placed[:, :, None] & np.where(is_last, left, early)[:, None]
        d = np.where(pair, distance, np.inf)
        limit = d.min(axis=(1, 2), keepdims=True) + tolerance
        if order == "heavy-first":
            limit = np.where(is_last[:, None], d.min(axis=1, keepdims=True), limit)
        admissible[:, step] = pair & (d <= limit)
        # 3. one of them
        score = rng.random((n, n_max * n_max)) * admissible[:, step].reshape(n, -1)
        rows = np.flatnonzero(left.any(1))
        if not len(rows):
            break
        chosen, atom = np.divmod(score[rows].argmax(1), n_max)
        focus[rows, step + 1] = chosen
    return FragmentSequences(sequence, focus, admissible)


def pad_molecules(
    z: NDArray[np.integer], pos: NDArray[np.floating], n_atoms: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Turn molecules laid end to end into arrays of the size of the largest.

    Parameters
    ----------
    z : (sum of n_atoms,)
        Atomic numbers.
    pos : (sum of n_atoms, 3), Angstrom
        Positions.
    n_atoms : (n_molecules,)
        Atoms of each molecule.

    Returns
    -------
    z, pos
        (n_molecules, n_max), padded with zeros, and (n_molecules, n_max, 3).

    Examples
    --------
    >>> pad_molecules(np.array([8, 1, 6]), np.zeros((3, 3)), np.array([2, 1]))[0]
    array([[8, 1],
           [6, 0]])
    """
    inside = np.arange(n_atoms.max()) < n_atoms[:, None]
    numbers = np.zeros(inside.shape, dtype=np.int64)
    places = np.zeros((*inside.shape, 3))
    numbers[inside], places[inside] = z, pos
    return numbers, places
