"""How well a model tells what comes next in growing molecules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equicalc.training.growth import GrowthBatch

if TYPE_CHECKING:
    from equicalc.models import Generator, SymphonyPaper


def growth_loss(
    model: Generator, batch: GrowthBatch
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean loss of a fragment and its terms.

    ``focus`` is the divergence of the model's distribution of focus, species and
    stopping from the true one; ``radial`` and ``angular`` are negative log likelihoods
    of the next atom's distance (per Angstrom) and direction (per steradian).
    """
    h = model.embed(batch.fragments)
    focus = _focus_term(model, h, batch)
    radial, angular = model.place(h, batch.queries).log_prob(batch.vectors)
    terms = {
        "focus": focus,
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
    focus = _focus_term(model, h, batch)
    position = model.place(h, batch.queries).divergence(
        batch.alternatives, batch.alternative_query
    )
    terms = {"focus": focus, "position": position.mean()}
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


def _focus_term(model: Generator, h: Any, batch: GrowthBatch) -> Tensor:
    """Mean divergence of focus, species and stopping."""
    return focus_divergence(
        model.focus_logits(h, batch.fragments),
        batch.counts,
        batch.fragments.pair_fragment,
        len(batch),
    ).mean()


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
    logits, pair_fragment, n_fragments
        As for `focus_divergence`; the logit of stopping is 0.

    Examples
    --------
    >>> log_partition(torch.zeros(2, 3), torch.tensor([0, 0]), 1)  # log 7
    tensor([1.9459])
    """
    zeros = logits.new_zeros(n_fragments)
    top = zeros.scatter_reduce(0, pair_fragment, logits.detach().amax(1), "amax")
    shifted = (logits - top[pair_fragment].unsqueeze(1)).exp().sum(1)
    return top + ((-top).exp() + zeros.index_add(0, pair_fragment, shifted)).log()
