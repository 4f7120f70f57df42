"""Molecules of a data set as growing fragments, and the loss of a model on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from equicalc.data.fragment_batch import FragmentBatch, Molecules, OnDevice, Queries
from equicalc.data.fragments import fragment_sequences, pad_molecules

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from equicalc.data.packed import PackedDataset
    from equicalc.models import Generator, GeneratorConfig, SymphonyPaper


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
    """
    rng = np.random.default_rng([seed, *indices.tolist()])
    graph = dataset.batch(indices)
    z, pos = pad_molecules(
        graph["z"].numpy(),
        graph["pos"].numpy().astype(np.float64),
        graph["ptr"].diff().numpy(),
    )
    pos = (pos - pos[:, :1]) @ _rotations(len(z), rng)
    return growth_of(z, pos, config, noise, rng, hydrogens_apart)


def growth_of(
    z: NDArray[np.int64],
    pos: NDArray[np.float64],
    config: GeneratorConfig,
    noise: float,
    rng: np.random.Generator,
    hydrogens_apart: bool = True,
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
        Draws orders and noise.
    hydrogens_apart
        Whether the model's nodes are heavy atoms only; they are placed first then,
        else by distance alone.

    Raises
    ------
    ValueError
        If a molecule has hydrogens only, and these are no nodes.
    """
    if hydrogens_apart and not (z > 1).any(1).all():
        raise ValueError(
            "a molecule of hydrogens only cannot be grown: leave it out of the data"
        )
    order = "heavy-first" if hydrogens_apart else "nearest"
    drawn = fragment_sequences(z, pos, rng, order)
    species = np.searchsorted(config.elements, z)
    # 1. heavy atoms (all, if they are alike) and hydrogens, in the order of placing
    rows = np.arange(len(z))[:, None]
    there = drawn.order >= 0  # (n_molecules, n_max)
    heavy_step = there & ((z[rows, drawn.order] > 1) | (not hydrogens_apart))
    heavy_atoms = _selected(drawn.order, heavy_step)
    hydrogens = _selected(drawn.order, there & ~heavy_step)
    noisy = pos + noise * rng.standard_normal(pos.shape)
    molecules = Molecules(
        torch.from_numpy(species[rows, heavy_atoms]),
        _single(noisy[rows, heavy_atoms]),
        _single(noisy[rows, hydrogens]),
    )
    # 2. fragments: after every step
    molecule, step = np.nonzero(there)
    n_heavy = heavy_step.cumsum(1)[molecule, step]
    fragments = FragmentBatch.build(
        molecules,
        torch.from_numpy(molecule),
        torch.from_numpy(n_heavy),
        torch.from_numpy(step + 1 - n_heavy),
        config.cutoff,
        config.hydrogen_cutoff,
    )
    # 3. what may come next
    pair_fragment = fragments.pair_fragment.numpy()
    place = (fragments.pair_node - fragments.first_node[pair_fragment]).numpy()
    owner = molecule[pair_fragment]
    counts = drawn.counts(species, len(config.elements))
    counts = counts[owner, step[pair_fragment], heavy_atoms[owner, place]]
    # 4. what does come next
    grown = np.flatnonzero(step + 1 < there.sum(1)[molecule])
    owner, atom = molecule[grown], drawn.order[molecule[grown], step[grown] + 1]
    focus = drawn.focus[owner, step[grown] + 1]
    rank = (heavy_atoms[owner] == focus[:, None]).argmax(1)
    queries = fragments.queries(
        torch.from_numpy(grown),
        torch.from_numpy(rank),
        torch.from_numpy(species[owner, atom]),
        config.cutoff,
    )
    vectors = _single(pos[owner, atom] - noisy[owner, focus])
    # 5. what else might have come at the same focus
    alike = species[owner] == species[owner, atom][:, None]  # (n_queries, n_max)
    query, other = np.nonzero(alike & drawn.admissible[owner, step[grown], focus])
    home = owner[query]
    alternatives = _single(pos[home, other] - noisy[home, focus[query]])
    return GrowthBatch(
        fragments,
        torch.from_numpy(counts),
        queries,
        vectors,
        torch.from_numpy(query),
        alternatives,
    )


def growth_loss(
    model: Generator, batch: GrowthBatch
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean loss of a fragment and its terms.

    ``focus`` is the divergence of the model's distribution of focus, species and
    stopping from the true one; ``radial`` and ``angular`` are negative log likelihoods
    of the next atom's distance (per Angstrom) and direction (per steradian).
    """
    h = model.embed(batch.fragments)
    focus = focus_divergence(
        model.focus_logits(h, batch.fragments),
        batch.counts,
        batch.fragments.pair_fragment,
        len(batch),
    )
    radial, angular = model.place(h, batch.queries).log_prob(batch.vectors)
    terms = {
        "focus": focus.mean(),
        "radial": -radial.mean(),
        "angular": -angular.mean(),
    }
    grown = len(radial) / len(batch)  # the others stop
    loss = terms["focus"] + grown * (terms["radial"] + terms["angular"])
    return loss, {name: term.detach() for name, term in terms.items()}


def shell_loss(
    model: SymphonyPaper, batch: GrowthBatch
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the published loss of a fragment and its terms: divergences, nats.

    ``focus`` as in `growth_loss`; ``position`` from a smoothed distribution of all
    atoms of the species that might come at the focus.
    """
    h = model.embed(batch.fragments)
    focus = focus_divergence(
        model.focus_logits(h, batch.fragments),
        batch.counts,
        batch.fragments.pair_fragment,
        len(batch),
    )
    position = model.place(h, batch.queries).divergence(
        batch.alternatives, batch.alternative_query
    )
    terms = {"focus": focus.mean(), "position": position.mean()}
    loss = terms["focus"] + len(position) / len(batch) * terms["position"]
    return loss, {name: term.detach() for name, term in terms.items()}


def growth_log_prob(model: Generator, batch: GrowthBatch) -> Tensor:
    """Return the log probability density of all steps of a batch together, a scalar.

    Focus, species, position (per cubic Angstrom) and stopping of every molecule; its
    first atom is given.
    """
    fragments, queries = batch.fragments, batch.queries
    h = model.embed(fragments)
    logits = model.focus_logits(h, fragments)
    log_z = log_partition(logits, fragments.pair_fragment, len(batch))
    # every fragment either grows, from one of its pairs, or stops with logit 0
    grows = batch.counts.new_zeros(len(batch))
    grows.index_add_(0, fragments.pair_fragment, batch.counts.sum(1))
    fragment = (grows > 0).nonzero().squeeze(1)
    first_pair = fragments.n_heavy.cumsum(0) - fragments.n_heavy
    pair = first_pair[fragment] + queries.node - fragments.first_node[fragment]
    chosen = logits[pair, queries.species].sum() - log_z.sum()
    radial, angular = model.place(h, queries).log_prob(batch.vectors)
    r = torch.linalg.vector_norm(batch.vectors, dim=1)
    return chosen + (radial + angular - 2 * r.log()).sum()


def focus_divergence(
    logits: Tensor, counts: Tensor, pair_fragment: Tensor, n_fragments: int
) -> Tensor:
    """Return the Kullback-Leibler divergence of every fragment, (n_fragments,).

    Parameters
    ----------
    logits, counts : (n_pairs, n_elements)
        Predicted, and numbers of atoms that may come; none in a fragment: stop.
    pair_fragment : (n_pairs,)
        Fragment of every pair.
    n_fragments
        Number of fragments.

    Examples
    --------
    >>> logits, counts = torch.zeros(1, 1), torch.tensor([[3.0]])
    >>> focus_divergence(logits, counts, torch.tensor([0]), 1)  # it may also stop
    tensor([0.6931])
    """
    zeros = logits.new_zeros(n_fragments)
    total = zeros.index_add(0, pair_fragment, counts.sum(1))
    target = counts / total[pair_fragment].clamp(min=1).unsqueeze(1)
    inner = (torch.xlogy(target, target) - target * logits).sum(1)
    # cross entropy minus entropy
    log_z = log_partition(logits, pair_fragment, n_fragments)
    return log_z + zeros.index_add(0, pair_fragment, inner)


def log_partition(logits: Tensor, pair_fragment: Tensor, n_fragments: int) -> Tensor:
    """Return log of the sum of exp over a fragment's logits and 0, (n_fragments,).

    Parameters
    ----------
    logits : (n_pairs, n_elements)
        Of focus and species; that of stopping is 0.
    pair_fragment : (n_pairs,)
        Fragment of every pair.
    n_fragments
        Number of fragments.

    Examples
    --------
    >>> log_partition(torch.zeros(2, 3), torch.tensor([0, 0]), 1)  # log 7
    tensor([1.9459])
    """
    zeros = logits.new_zeros(n_fragments)
    top = zeros.scatter_reduce(0, pair_fragment, logits.detach().amax(1), "amax")
    shifted = (logits - top[pair_fragment].unsqueeze(1)).exp().sum(1)
    return top + ((-top).exp() + zeros.index_add(0, pair_fragment, shifted)).log()


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
