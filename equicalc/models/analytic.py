"""Energies and forces of a potential without autograd, in compiled loops."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from equicalc.kernels.convolution import Adjacency, RadialTable, TabulatedConvolution
from equicalc.kernels.nodes import NodeMaps, Shape
from equicalc.models.potential import InteractionLayer, Potential
from equicalc.nn.gate import BOUND
from equicalc.nn.radial import BesselBasis, RadialFilter
from equicalc.nn.repulsion import ZBLRepulsion

if TYPE_CHECKING:
    from torch_geometric.data import Data

#: Largest error of a radial function in its table, relative to the largest value.
TOLERANCES = {torch.float32: 1e-7, torch.float64: 1e-10}
#: First knot of the tables, Angstrom.
NEAREST = 0.02

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
    adjacency : Adjacency
        Who sends to whom.
    """

    harmonics: Tensor
    distance: Tensor
    adjacency: Adjacency


#: From the derivative by the new features, and whether the old ones' is wanted, to
#: the derivatives by old features, harmonics and distance.
PullBack = Callable[[Tensor, bool], tuple[Tensor | None, Tensor, Tensor]]


@dataclass(frozen=True)
class AnalyticLayer:
    """An `InteractionLayer` whose derivatives are written out.

    Attributes
    ----------
    maps : NodeMaps
        Linear maps and gate.
    convolution : TabulatedConvolution
        Messages, with radial functions from a table.
    """

    maps: NodeMaps
    convolution: TabulatedConvolution

    @classmethod
    def build(cls, layer: InteractionLayer, basis: BesselBasis) -> AnalyticLayer | None:
        """Compile a layer; None where that is impossible."""
        product, gate = layer.convolution, layer.gate
        shape = Shape(
            tuple(layer.ls_in),
            product.paths.ls_out,
            product.paths_per_degree,
            layer.species_scale.shape[2],
            BOUND,
        )
        after = [w * layer.scale for w in layer.after.weights]
        matrices = [*layer.before.weights, *after, *layer.self_interaction.weights]
        maps = NodeMaps.build(
            shape, matrices, layer.species_scale, gate.hidden, gate.output
        )
        if maps is None:
            return None
        table = radial_table(basis, layer.filters)
        return cls(maps, TabulatedConvolution(product.paths, table))

    def __call__(
        self, h: Tensor, species: Tensor, edges: Edges
    ) -> tuple[Tensor, PullBack]:
        """Update node features; return them and how to go back."""
        harmonics, distance, adjacency = edges
        x = self.maps.before(h)
        messages = self.convolution.forward(x, harmonics, distance, adjacency)
        out, saved = self.maps.after(messages, h, species)

        def pull_back(
            grad: Tensor, to_features: bool
        ) -> tuple[Tensor | None, Tensor, Tensor]:
            g_messages, g_h = self.maps.pull_after(grad, saved, species, to_features)
            g_x, g_harmonics, g_distance = self.convolution.backward(
                g_messages, x, harmonics, distance, adjacency
            )
            if g_h is not None:
                self.maps.pull_before(g_x, g_h)
            return g_h, g_harmonics, g_distance

        return out, pull_back


class AnalyticPotential:
    """A potential for inference on a CPU, whose derivatives need no autograd.

    Linear maps, gates and convolutions are compiled loops with derivatives of their
    own, and radial functions come from tables. `equicalc.models.evaluate` takes it in
    place of the potential, whose weights must not change afterwards.

    Examples
    --------
    >>> from equicalc.graph import make_graph
    >>> from equicalc.models import PotentialConfig, evaluate
    >>> model = Potential(PotentialConfig(elements=(1, 8), channels=4, layers=2))
    >>> pos = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]
    >>> water = make_graph([8, 1, 1], pos, None, None, cutoff=5.0)
    >>> evaluate(AnalyticPotential.build(model) or model, water)["forces"].shape
    torch.Size([3, 3])
    """

    trainable = False

    def __init__(self, model: Potential, layers: list[AnalyticLayer]) -> None:
        self.model = model
        self.layers = layers
        n_elements, device = len(model.elements), model.embedding.device
        nobody = torch.arange(0, device=device)
        alone = torch.arange(n_elements, device=device)
        edges = self._edges(model.embedding.new_empty(0, 3), nobody, nobody, n_elements)
        self._alone = self._network(alone, edges)[0].double()
        references = model.config.reference_energies or (0.0,) * n_elements
        self._references = self._alone.new_tensor(references)
        if model.repulsion is not None:
            self._furthest = float(model.repulsion.reach.max())

    @classmethod
    @torch.no_grad()
    def build(cls, model: Potential) -> AnalyticPotential | None:
        """Compile a potential.

        Returns
        -------
        AnalyticPotential or None
            None where there is no compiler, on a GPU, and if the potential was made
            with ``backend="torch"``.
        """
        if model.harmonics.backend == "torch":
            return None
        layers = []
        for layer in cast("Iterable[InteractionLayer]", model.layers):
            found = AnalyticLayer.build(layer, model.basis)
            if found is None:
                return None
            layers.append(found)
        return cls(model, layers)

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
        edges = self._edges(short, src, dst, len(species))
        network, h, pull_back = self._network(species, edges)
        above = network.double() - self._alone[species]
        above *= edges.adjacency.dst_ptr.diff() > 0  # alone, zero to the last bit
        energies = self._references[species].add(above, alpha=config.energy_scale)
        g_harmonics, g_distance = pull_back(config.energy_scale)
        if model.repulsion is not None:
            pairs = repulsion(
                model.repulsion, self._furthest, edges.distance, species, src, dst
            )
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
            decay = model.basis.first(edges.distance)
            out |= model.electrostatics(scalars, moments, decay, short, graph)
        return out, gradient.to(vectors.dtype)

    def _edges(self, vectors: Tensor, src: Tensor, dst: Tensor, n_nodes: int) -> Edges:
        distance = torch.linalg.vector_norm(vectors, dim=1)
        adjacency = Adjacency.from_edges(src, dst, n_nodes)
        return Edges(self.model.harmonics.values(vectors), distance, adjacency)

    def _network(
        self, species: Tensor, edges: Edges
    ) -> tuple[Tensor, Tensor, Callable[[float], tuple[Tensor, Tensor]]]:
        """Return energies (n_atoms,), features, and how to go back to the edges."""
        h = self.model.embedding[species].unsqueeze(1)
        steps = []
        for layer in self.layers:
            h, step = layer(h, species, edges)
            steps.append(step)
        first, _, last = cast("Iterable[nn.Linear]", self.model.energy_head)
        hidden = first(h[:, 0])
        energies = last(silu(hidden)).squeeze(1)

        def pull_back(scale: float) -> tuple[Tensor, Tensor]:
            g_hidden = silu_backward((scale * last.weight).expand_as(hidden), hidden)
            grad = torch.zeros_like(h)
            grad[:, 0] = g_hidden @ first.weight
            *others, step = steps
            grad, g_harmonics, g_distance = step(grad, bool(others))
            for number, step in reversed(list(enumerate(others))):
                grad, g_y, g_r = step(grad, number > 0)
                g_harmonics += g_y
                g_distance += g_r
            return g_harmonics, g_distance

        return energies, h, pull_back


def radial_table(basis: BesselBasis, filters: RadialFilter) -> RadialTable:
    """Tabulate the radial weights of a layer."""
    dtype = filters.matrix.dtype
    wide, deep = copy.deepcopy(basis).double(), copy.deepcopy(filters).double()

    def hidden(distance: Tensor) -> Tensor:
        return deep.hidden(wide(distance))

    with torch.enable_grad():
        table = RadialTable.build(
            hidden, NEAREST, basis.cutoff, TOLERANCES[dtype], torch.float64
        )
    return table.mixed(deep.matrix.detach()).to(dtype)


def repulsion(
    module: ZBLRepulsion,
    furthest: float,
    distance: Tensor,
    species: Tensor,
    src: Tensor,
    dst: Tensor,
) -> tuple[Tensor, Tensor] | None:
    """Repulsion of the atoms (n_atoms,) and its derivative (n_edges,), or None.

    Only pairs nearer than a bond repel each other, none beyond `furthest`, and most
    structures have none at all.
    """
    near = torch.nonzero(distance < furthest).squeeze(1)
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
