"""Molecules of a data set as growing fragments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from equicalc.data.fragment_batch import FragmentBatch, Molecules, OnDevice, Queries
from equicalc.data.fragments import (
    FragmentSequences,
    fragment_sequences,
    pad_molecules,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from equicalc.data.packed import PackedDataset
    from equicalc.models import GeneratorConfig


@dataclass(frozen=True)
class GrowthBatch(OnDevice):
    """All fragments of some molecules, and what comes next.

    Attributes
    ----------
    fragments
        What the model sees, positions with noise.
    counts : (n_pairs, n_elements)
        Atoms that may come next, by focus and species; none: stop.
    queries
        The focus and species that did come next.
    vectors : (n_queries, 3), Angstrom
        From the (noisy) focus to the (true) position.
    alternative_query : (n_alternatives,)
        Query of every atom of its species that might have come at its focus, the one
        that did come among them.
    alternatives : (n_alternatives, 3), Angstrom
        Their positions, as `vectors`.
    """

    fragments: FragmentBatch
    counts: Tensor
    queries: Queries
    vectors: Tensor
    alternative_query: Tensor
    alternatives: Tensor

    def __len__(self) -> int:
        return len(self.fragments)


def growth_batch(
    dataset: PackedDataset,
    indices: NDArray[np.int64],
    config: GeneratorConfig,
    noise: float,
    seed: int,
    hydrogens_apart: bool = True,
    hydrogen_share: float = 1.0,
) -> GrowthBatch:
    """Draw an order for some molecules and collect their fragments.

    What is drawn depends on the seed and on the indices only.

    Parameters
    ----------
    dataset
        Molecules.
    indices : (n_molecules,)
        Which ones.
    config
        Elements and cutoffs of the model.
    noise
        Standard deviation of the noise on input positions, Angstrom.
    seed
        Of orders, noise and orientations.
    hydrogens_apart
        See `equicalc.models.Generator`.
    hydrogen_share
        How many of the fragments with hydrogens are kept, if hydrogens are apart.
    """
    rng = np.random.default_rng([seed, *indices.tolist()])
    graph = dataset.batch(indices)
    z, pos = pad_molecules(
        graph["z"].numpy(),
        graph["pos"].numpy().astype(np.float64),
        graph["ptr"].diff().numpy(),
    )
    pos = (pos - pos[:, :1]) @ _rotations(len(z), rng)
    return growth_of(z, pos, config, noise, rng, hydrogens_apart, hydrogen_share)


def growth_of(
    z: NDArray[np.int64],
    pos: NDArray[np.float64],
    config: GeneratorConfig,
    noise: float,
    rng: np.random.Generator,
    hydrogens_apart: bool = True,
    hydrogen_share: float = 1.0,
    sequences: FragmentSequences | None = None,
) -> GrowthBatch:
    """Collect the fragments of molecules, see `growth_batch`.

    Parameters
    ----------
    z : (n_molecules, n_max)
        Atomic numbers, 0 for padding.
    pos : (n_molecules, n_max, 3), Angstrom
        Positions.
    config, noise
        See `growth_batch`.
    rng
        Draws orders and noise, and what is kept.
    hydrogens_apart
        Whether the model's nodes are heavy atoms only; they are placed first then,
        else by distance alone.
    hydrogen_share
        See `growth_batch`.
    sequences
        Orders of the atoms; by default they are drawn.

    Raises
    ------
    ValueError
        If a molecule has hydrogens only, and these are no nodes.
    """
    if hydrogens_apart and not (z > 1).any(1).all():
        raise ValueError(
            "a molecule of hydrogens only cannot be grown: leave it out of the data"
        )
    if sequences is None:
        order = "heavy-first" if hydrogens_apart else "nearest"
        sequences = fragment_sequences(z, pos, rng, order)
    growth = _Growth(
        z, pos, sequences, config, noise, rng, hydrogens_apart, hydrogen_share
    )
    fragments = growth.fragments()
    query, alternatives = growth.alternatives()
    return GrowthBatch(
        fragments,
        growth.counts(fragments),
        growth.queries(fragments),
        _single(growth.pos[growth.owner, growth.atom] - growth.focus_pos),
        query,
        alternatives,
    )


class _Growth:
    """Molecules, and the order in which their atoms come; see `growth_of`.

    A step leaves a fragment behind, of which nodes are the heavy atoms, or all atoms
    if they are alike. Where it is not the last of its molecule, it is followed by
    `atom` of the molecule `owner` at the node `focus`; these arrays are (n_queries,).
    """

    def __init__(
        self,
        z: NDArray[np.int64],
        pos: NDArray[np.float64],
        sequences: FragmentSequences,
        config: GeneratorConfig,
        noise: float,
        rng: np.random.Generator,
        hydrogens_apart: bool,
        hydrogen_share: float,
    ) -> None:
        self.config, self.pos, self.drawn = config, pos, sequences
        self.noisy = pos + noise * rng.standard_normal(pos.shape)
        self.species = np.searchsorted(config.elements, z)
        self.rows = np.arange(len(z))[:, None]
        there = self.drawn.order >= 0  # (n_molecules, n_max)
        heavy = z[self.rows, self.drawn.order] > 1
        self.node_comes = there & (heavy | (not hydrogens_apart))
        self.nodes = _selected(self.drawn.order, self.node_comes)
        self.hydrogens = _selected(self.drawn.order, there & ~self.node_comes)
        kept = self.node_comes | (rng.random(there.shape) < hydrogen_share)
        self.molecule, self.step = np.nonzero(there & kept)  # (n_fragments,)
        # what follows
        self.grown = np.flatnonzero(self.step + 1 < there.sum(1)[self.molecule])
        self.owner, self.last = self.molecule[self.grown], self.step[self.grown]
        self.atom = self.drawn.order[self.owner, self.last + 1]
        self.focus = self.drawn.focus[self.owner, self.last + 1]
        self.focus_pos = self.noisy[self.owner, self.focus]

    def fragments(self) -> FragmentBatch:
        """Return what is there after every step, as the model sees it."""
        molecules = Molecules(
            torch.from_numpy(self.species[self.rows, self.nodes]),
            _single(self.noisy[self.rows, self.nodes]),
            _single(self.noisy[self.rows, self.hydrogens]),
        )
        n_nodes = self.node_comes.cumsum(1)[self.molecule, self.step]
        return FragmentBatch.build(
            molecules,
            torch.from_numpy(self.molecule),
            torch.from_numpy(n_nodes),
            torch.from_numpy(self.step + 1 - n_nodes),
            self.config.cutoff,
            self.config.hydrogen_cutoff,
        )

    def counts(self, fragments: FragmentBatch) -> Tensor:
        """Count atoms that may come next, by focus and species."""
        fragment = fragments.pair_fragment.numpy()
        place = (fragments.pair_node - fragments.first_node[fragment]).numpy()
        owner = self.molecule[fragment]
        counts = self.drawn.counts(self.species, len(self.config.elements))
        return torch.from_numpy(
            counts[owner, self.step[fragment], self.nodes[owner, place]]
        )

    def queries(self, fragments: FragmentBatch) -> Queries:
        """Return the focus and species that do come next."""
        rank = (self.nodes[self.owner] == self.focus[:, None]).argmax(1)
        return fragments.queries(
            torch.from_numpy(self.grown),
            torch.from_numpy(rank),
            torch.from_numpy(self.species[self.owner, self.atom]),
            self.config.cutoff,
        )

    def alternatives(self) -> tuple[Tensor, Tensor]:
        """Return queries and vectors of what might have come at the same focus."""
        species = self.species[self.owner]  # (n_queries, n_max)
        alike = species == self.species[self.owner, self.atom][:, None]
        admissible = self.drawn.admissible[self.owner, self.last, self.focus]
        query, other = np.nonzero(alike & admissible)
        vectors = self.pos[self.owner[query], other] - self.focus_pos[query]
        return torch.from_numpy(query), _single(vectors)


def _selected(order: NDArray[np.int64], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Chosen entries of every row in their order, padded with -1."""
    width = int(chosen.sum(1).max())
    first = np.argsort(~chosen, axis=1, kind="stable")[:, :width]
    rows = np.arange(len(order))[:, None]
    return np.where(chosen[rows, first], order[rows, first], -1)


def _rotations(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random rotations or roto-inversions, (n, 3, 3)."""
    q, r = np.linalg.qr(rng.standard_normal((n, 3, 3)))
    return q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]


def _single(array: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
