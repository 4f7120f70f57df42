"""Energies and forces of a potential without autograd: every step and its reverse.

Each function computes what the module of the same name computes, and returns beside
the value how a derivative with respect to it is pulled back to its inputs. Nothing is
recorded; weights have no gradients here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from equicalc.kernels.convolution import Adjacency
from equicalc.models.potential import InteractionLayer, Potential
from equicalc.nn.gate import BOUND, InvariantGate
from equicalc.nn.linear import DegreeLinear
from equicalc.nn.radial import RadialFilter
from equicalc.nn.repulsion import ZBLRepulsion

silu = torch.nn.functional.silu
silu_backward = torch.ops.aten.silu_backward


class Edges(NamedTuple):
    """What every layer reads of the edges.

    Attributes
    ----------
    harmonics : Tensor
        (n_edges, sum 2l+1).
    distance : Tensor
        (n_edges,), Angstrom.
    basis, slopes : Tensor
        (n_edges, n_radial) radial basis and its derivative by the distance.
    adjacency : Adjacency
        Who sends to whom.
    """

    harmonics: Tensor
    distance: Tensor
    basis: Tensor
    slopes: Tensor
    adjacency: Adjacency


def linear(
    module: DegreeLinear, x: Tensor
) -> tuple[list[Tensor], Callable[[list[Tensor]], Tensor]]:
    """Map flat features, see `DegreeLinear`."""
    weights = list(module.weights)
    rows = [2 * l + 1 for l in module.ls]
    blocks = x.split([n * len(w) for n, w in zip(rows, weights)], 1)
    out = [
        (block.reshape(-1, len(w)) @ w).view(len(x), n, w.shape[1])
        for n, block, w in zip(rows, blocks, weights)
    ]

    def pull_back(grads: list[Tensor]) -> Tensor:
        flat = [
            (g.reshape(-1, w.shape[1]) @ w.t()).view(len(x), n * len(w))
            for n, g, w in zip(rows, grads, weights)
        ]
        return torch.cat(flat, 1)

    return out, pull_back


def gate(
    module: InvariantGate, features: list[Tensor]
) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
    """Gate features, see `InvariantGate`."""
    scalars, *tensors = features
    norms = [x.square().mean(1) for x in tensors]
    invariants = torch.cat([scalars.squeeze(1), *norms], 1)
    squash = torch.rsqrt(1 + (invariants / BOUND).square())
    hidden = module.hidden(invariants * squash)
    mixed = module.output(silu(hidden)).unsqueeze(1)
    new, *gates = mixed.chunk(len(features), 2)
    out = torch.cat([new, *(x * open for x, open in zip(tensors, gates))], 1)

    def pull_back(grad: Tensor) -> list[Tensor]:
        g_new, *g_gated = grad.split([x.shape[1] for x in features], 1)
        g_gates = [(g * x).sum(1) for g, x in zip(g_gated, tensors)]
        g_mixed = torch.cat([g_new.squeeze(1), *g_gates], 1)
        g_hidden = silu_backward(g_mixed @ module.output.weight, hidden)
        g_invariants = (g_hidden @ module.hidden.weight * squash**3).unsqueeze(1)
        g_scalars, *g_norms = g_invariants.chunk(len(features), 2)
        return [
            g_scalars,
            *(
                (g * open).addcmul_(x, g_norm, value=2 / x.shape[1])
                for g, open, x, g_norm in zip(g_gated, gates, tensors, g_norms)
            ),
        ]

    return out, pull_back


def hidden_features(
    module: RadialFilter, basis: Tensor
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Map the radial basis to the last hidden layer, see `RadialFilter`."""
    layers = list(module.weights)[:-1]
    inputs = []
    for weight in layers:
        inputs.append(basis @ weight)
        basis = silu(inputs[-1])

    def pull_back(grad: Tensor) -> Tensor:
        for weight, x in zip(reversed(layers), reversed(inputs)):
            grad = silu_backward(grad, x) @ weight.t()
        return grad

    return basis, pull_back


def interaction(
    layer: InteractionLayer,
    h: Tensor,
    species: Tensor,
    edges: Edges,
) -> tuple[Tensor, Callable[[Tensor, bool], tuple[Tensor | None, Tensor, Tensor]]]:
    """Update node features, see `InteractionLayer`.

    A derivative is pulled back to the features, the harmonics and the radial basis.
    """
    # 1. linear
    x_rows, pull_before = linear(layer.before, h.flatten(1))
    # 2. messages
    hidden, pull_hidden = hidden_features(layer.filters, edges.basis)
    x, matrix = torch.cat(x_rows, 1), layer.filters.matrix
    args = (x, edges.harmonics, hidden)
    messages = layer.convolution(*args, edges.adjacency, matrix)
    # 3. self-interaction and gate
    new, pull_after = linear(layer.after, (messages * layer.scale).flatten(1))
    rows = [2 * l + 1 for l in layer.ls_in]
    parts = h.split(rows, 1)
    scale = [s.unsqueeze(1) for s in layer.species_scale[species].unbind(1)]
    kept = torch.cat([parts[k] * s for k, s in zip(layer.kept, scale)], 1)
    own, pull_own = linear(layer.self_interaction, kept.flatten(1))
    for target, value in zip(layer.targets, own):
        new[target] += value
    out, pull_gate = gate(layer.gate, new)

    def pull_back(
        grad: Tensor, to_features: bool
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        g_new = pull_gate(grad)
        g_messages = pull_after(g_new).view_as(messages).mul_(layer.scale)
        g_x, g_harmonics, g_hidden = layer.convolution.pull_back(
            *args, g_messages, edges.adjacency, matrix
        )
        g_basis = pull_hidden(g_hidden)
        if not to_features:
            return None, g_harmonics, g_basis
        g_h = pull_before(list(g_x.split(rows, 1))).view_as(h)
        g_kept = pull_own([g_new[target] for target in layer.targets]).view_as(kept)
        g_parts = g_h.split(rows, 1)
        for k, s, g in zip(
            layer.kept, scale, g_kept.split([rows[k] for k in layer.kept], 1)
        ):
            g_parts[k].addcmul_(g, s)
        return g_h, g_harmonics, g_basis

    return out, pull_back


class AnalyticPotential:
    """A potential for inference, whose derivatives need no autograd.

    `equicalc.models.evaluate` takes it in place of the potential.

    Parameters
    ----------
    model : Potential
        Its weights must not change afterwards.

    Examples
    --------
    >>> from equicalc.graph import make_graph
    >>> from equicalc.models import PotentialConfig, evaluate
    >>> model = Potential(PotentialConfig(elements=(1, 8), channels=4, layers=2))
    >>> pos = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]
    >>> water = make_graph([8, 1, 1], pos, None, None, cutoff=5.0)
    >>> evaluate(AnalyticPotential(model), water)["forces"].shape
    torch.Size([3, 3])
    """

    @torch.no_grad()
    def __init__(self, model: Potential) -> None:
        self.model = model
        config, weight = model.config, model.embedding
        # atoms alone in space: what energies are measured from
        species = torch.arange(len(config.elements), device=weight.device)
        edges = self._edges(weight.new_empty(0, 3), species[:0], species[:0], species)
        self._alone = self._network(species, edges)[0].double()
        references = config.reference_energies or (0.0,) * len(species)
        self._references = self._alone.new_tensor(references)

    def __call__(self, graph: Data, vectors: Tensor) -> Mapping[str, Tensor]:
        """Evaluate the potential itself, which autograd can differentiate."""
        return self.model(graph, vectors)

    @torch.no_grad()
    def with_gradient(
        self, graph: Data, vectors: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Evaluate a batch and differentiate its energy.

        Parameters
        ----------
        graph, vectors
            See `Potential.forward`.

        Returns
        -------
        out : dict
            What `Potential.forward` returns.
        gradient : Tensor
            (n_edges, 3), eV/Angstrom, of the summed energy with respect to `vectors`.
        """
        model, config = self.model, self.model.config
        src, dst = graph["edge_index"]
        species = model.species(graph["z"])
        short = vectors.to(model.embedding.dtype)
        # 1. energies
        edges = self._edges(short, src, dst, species)
        network, h, pull_back = self._network(species, edges)
        above = network.double() - self._alone[species]
        above[edges.adjacency.dst_ptr.diff() == 0] = 0.0  # to the last bit
        energies = self._references[species] + config.energy_scale * above
        g_harmonics, g_distance = pull_back(config.energy_scale)
        if model.repulsion is not None:
            pairs = repulsion(model.repulsion, edges.distance, species, src, dst)
            if pairs is not None:
                energies += pairs[0].double()
                g_distance += pairs[1]
        # 2. derivative with respect to the edge vectors
        gradient = model.harmonics.pull_back(short, g_harmonics)
        gradient.addcmul_(short, (g_distance / edges.distance).unsqueeze(1))
        # 3. what else the model says
        scalars = h[:, 0]
        out = {"energies": energies, "embedding": scalars}
        if config.dipole:
            moments = model.vector_head(h[:, 1:4]).squeeze(2)
            out |= model.electrostatics(scalars, moments, edges.basis, short, graph)
        return out, gradient.to(vectors.dtype)

    def _edges(self, vectors: Tensor, src: Tensor, dst: Tensor, nodes: Tensor) -> Edges:
        distance = torch.linalg.vector_norm(vectors, dim=1)
        return Edges(
            self.model.harmonics(vectors),
            distance,
            *self.model.basis.with_derivative(distance),
            Adjacency.from_edges(src, dst, len(nodes)),
        )

    def _network(
        self, species: Tensor, edges: Edges
    ) -> tuple[Tensor, Tensor, Callable[[float], tuple[Tensor, Tensor]]]:
        """Return energies (n_atoms,), features, and how to go back to the edges."""
        model = self.model
        h = model.embedding[species].unsqueeze(1)
        steps = []
        for layer in cast("Iterable[InteractionLayer]", model.layers):
            h, step = interaction(layer, h, species, edges)
            steps.append(step)
        first, _, last = cast("Iterable[nn.Linear]", model.energy_head)
        hidden = first(h[:, 0])
        energies = last(silu(hidden)).squeeze(1)

        def pull_back(scale: float) -> tuple[Tensor, Tensor]:
            g_hidden = silu_backward((scale * last.weight).expand_as(hidden), hidden)
            grad = torch.zeros_like(h)
            grad[:, 0] = g_hidden @ first.weight
            g_harmonics = torch.zeros_like(edges.harmonics)
            g_basis = torch.zeros_like(edges.basis)
            for number, step in reversed(list(enumerate(steps))):
                grad, g_y, g_b = step(grad, number > 0)
                g_harmonics += g_y
                g_basis += g_b
            return g_harmonics, (g_basis * edges.slopes).sum(1)

        return energies, h, pull_back


def repulsion(
    module: ZBLRepulsion, distance: Tensor, species: Tensor, src: Tensor, dst: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Repulsion of the atoms (n_atoms,) and its derivative (n_edges,), or None.

    Only pairs nearer than a bond repel each other, and most structures have none.
    """
    near = torch.nonzero(distance < module.reach.max()).squeeze(1)
    i, j = dst[near], src[near]
    touching = distance[near] < module.reach[species[i], species[j]]
    if not touching.any():
        return None
    near, i, j = near[touching], i[touching], j[touching]
    with torch.enable_grad():
        close = distance[near].requires_grad_()
        energies = module(close, species, j, i)
        [gradient] = torch.autograd.grad(energies.sum(), close)
    return energies.detach(), torch.zeros_like(distance).index_copy_(0, near, gradient)
