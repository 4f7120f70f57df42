"""The potential for inference: all parts of a step in their order."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from equicalc.models.analytic.edges import EdgeLoops
from equicalc.models.analytic.layers import AnalyticLayer
from equicalc.models.analytic.readout import Readout
from equicalc.models.analytic.steps import Network, Step
from equicalc.models.potential import InteractionLayer, Potential, PotentialConfig
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

    def __init__(self, model: Potential, network: Network) -> None:
        self.model = model
        self._network = network
        self._step: Step | None = None  # the last one
        self._lock = threading.Lock()

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
        loops, readout = EdgeLoops.build(model), Readout.build(model)
        if loops is None or readout is None:
            return None
        network = Network(loops, tuple(layers), readout)
        return cls(model, measured_from_alone(network, model.config))

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle the potential, and compile it where it arrives."""
        return _compiled_again, (self.model,)

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
        species = self.model.species(graph["z"])
        with self._lock:  # a step is on the same arrays as the one before
            out, gradient = self._results(graph, vectors, species)
        return out, gradient.to(vectors.dtype)

    def _results(
        self, graph: Data, vectors: Tensor, species: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Take a step, and copy what it leaves."""
        src, dst = graph["edge_index"]
        # 1. network
        loops, n_edges = self._network.loops, vectors.shape[0]
        step = self._step_for(species.shape[0], n_edges)
        structure = step.structure
        touching = loops.open(vectors, src, dst, species, structure)
        passed = step.run()
        # 2. repulsion
        energies, by_distance = passed.answers.energies.clone(), passed.by_distance
        if touching and self.model.repulsion is not None:
            pairs, slopes = repulsion(
                self.model.repulsion, structure.distance[:n_edges], species, src, dst
            )
            energies += pairs.double()
            by_distance[:n_edges] += slopes
        gradient = loops.close(structure, passed.by_vectors, by_distance, n_edges)
        # 3. what else the model says
        out = {"energies": energies, "embedding": passed.features[:, 0].clone()}
        potential, moments = passed.answers.potential, passed.answers.moments
        if potential is not None and moments is not None:
            out |= loops.exchange(structure, potential, moments, graph)
        return out, gradient

    def _step_for(self, n_atoms: int, n_edges: int) -> Step:
        """Return the last step if it fits, else a new one."""
        if self._step is None or not self._step.fits(n_atoms, n_edges):
            self._step = Step(self._network, n_atoms, n_edges)
        return self._step


def _compiled_again(model: Potential) -> AnalyticPotential | Potential:
    return AnalyticPotential.build(model) or model


def measured_from_alone(network: Network, config: PotentialConfig) -> Network:
    """Let energies be those above the atoms of every element alone in space."""
    n_elements = len(config.elements)
    alone, nobody = torch.arange(n_elements), torch.arange(0)
    step = Step(network, n_elements, 0)
    network.loops.open(torch.empty(0, 3), nobody, nobody, alone, step.structure)
    energies = step.run().answers.energies
    references = config.reference_energies or (0.0,) * n_elements
    readout = replace(
        network.readout, alone=energies, references=energies.new_tensor(references)
    )
    return replace(network, readout=readout)


def repulsion(
    module: ZBLRepulsion, distance: Tensor, species: Tensor, src: Tensor, dst: Tensor
) -> tuple[Tensor, Tensor]:
    """Repulsion of the atoms (n_atoms,) and its derivative (n_edges,).

    Few structures have any: torch is fast enough.
    """
    near = torch.nonzero(distance < module.reach[species[dst], species[src]]).squeeze(1)
    i, j = dst[near], src[near]
    with torch.enable_grad():
        close = distance[near].requires_grad_()
        energies = module(close, species, j, i)
        [gradient] = torch.autograd.grad(energies.sum(), close)
    return energies.detach(), torch.zeros_like(distance).index_copy_(0, near, gradient)
