"""The potential for inference: all parts of a step in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from equicalc.models.analytic.edges import EdgeLoops, Edges
from equicalc.models.analytic.layers import AnalyticLayer
from equicalc.models.analytic.readout import Readout
from equicalc.models.potential import InteractionLayer, Potential
from equicalc.nn.repulsion import ZBLRepulsion

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["AnalyticPotential"]


class AnalyticPotential:
    """A potential for inference on a CPU, whose derivatives need no autograd.

    Everything that it does at nodes and edges is a compiled loop with a derivative of
    its own, and radial functions come from tables. `equicalc.models.evaluate` takes it
    in place of the potential, whose weights must not change afterwards.

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

    def __init__(
        self,
        model: Potential,
        edges: EdgeLoops,
        layers: list[AnalyticLayer],
        readout: Readout,
    ) -> None:
        self.model = model
        self._embedding = model.embedding.detach()
        self._edges = edges
        self._layers = layers
        self._readout = self._measured_from_alone(readout)

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
        edges, readout = EdgeLoops.build(model), Readout.build(model)
        if edges is None or readout is None:
            return None
        return cls(model, edges, layers, readout)

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
        # 1. forwards
        src, dst = graph["edge_index"]
        species = self.model.species(graph["z"])
        edges = self._edges.open(vectors, src, dst, species)
        h, pull_back = self._features(species, edges)
        answers = self._readout(h, species, edges.adjacency.dst_ptr)
        # 2. backwards
        by_harmonics, by_distance = pull_back(answers.gradient)
        energies = answers.energies
        if edges.touching and self.model.repulsion is not None:
            pairs, slopes = repulsion(self.model.repulsion, species, edges)
            energies += pairs.double()
            by_distance += slopes
        gradient = self._edges.close(edges, by_harmonics, by_distance)
        # 3. what else the model says
        out = {"energies": energies, "embedding": h[:, 0]}
        if answers.potential is not None and answers.moments is not None:
            out |= self._edges.exchange(
                edges, answers.potential, answers.moments, graph
            )
        return out, gradient.to(vectors.dtype)

    def _features(
        self, species: Tensor, edges: Edges
    ) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
        """Return features of the last layer, and how to go back to the edges."""
        h = self._embedding.index_select(0, species).unsqueeze(1)
        steps = []
        for layer in self._layers:
            h, step = layer(h, species, edges)
            steps.append(step)

        def pull_back(grad: Tensor) -> tuple[Tensor, Tensor]:
            *others, step = steps
            grad, g_harmonics, g_distance = step(grad, bool(others))
            for number, step in reversed(list(enumerate(others))):
                grad, g_y, g_r = step(grad, number > 0)
                g_harmonics += g_y
                g_distance += g_r
            return g_harmonics, g_distance

        return h, pull_back

    def _measured_from_alone(self, readout: Readout) -> Readout:
        """Let energies be those above the atoms of every element alone in space."""
        n_elements = len(self.model.elements)
        device = self._embedding.device
        nobody = torch.arange(0, device=device)
        alone = torch.arange(n_elements, device=device)
        vectors = self._embedding.new_empty(0, 3)
        edges = self._edges.open(vectors, nobody, nobody, alone)
        h, _ = self._features(alone, edges)
        energies = readout(h, alone, edges.adjacency.dst_ptr).energies
        references = self.model.config.reference_energies or (0.0,) * n_elements
        return replace(
            readout, alone=energies, references=energies.new_tensor(references)
        )


def repulsion(
    module: ZBLRepulsion, species: Tensor, edges: Edges
) -> tuple[Tensor, Tensor]:
    """Repulsion of the atoms (n_atoms,) and its derivative (n_edges,).

    Few structures have any: torch is fast enough.
    """
    distance, adjacency = edges.distance, edges.adjacency
    reach = module.reach[species[adjacency.dst], species[adjacency.src]]
    near = torch.nonzero(distance < reach).squeeze(1)
    i, j = adjacency.dst[near], adjacency.src[near]
    with torch.enable_grad():
        close = distance[near].requires_grad_()
        energies = module(close, species, j, i)
        [gradient] = torch.autograd.grad(energies.sum(), close)
    return energies.detach(), torch.zeros_like(distance).index_copy_(0, near, gradient)
