"""All of a network for given numbers of atoms and edges, forwards and backwards."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equicalc.kernels.cpp import Recording
from equicalc.models.analytic.edges import EdgeLoops, Structure
from equicalc.models.analytic.layers import AnalyticLayer
from equicalc.models.analytic.readout import Answers, Readout

__all__ = ["Network", "Passed", "Step"]

#: Steps of up to so many edges are recorded; in larger ones, calls cost nothing.
FEW_EDGES = 4096
#: Room for edges is made in portions, so that a few more or less fit in.
PORTION = 64


@dataclass(frozen=True)
class Passed:
    """What a pass forwards and backwards leaves.

    Attributes
    ----------
    features : Tensor
        (n_atoms, rows, channels) of the last layer.
    answers : Answers
        What is read from them.
    by_vectors, by_distance : Tensor
        (n_edges, 3) and (n_edges,), derivatives of the energy through the harmonics
        and through the distances.
    """

    features: Tensor
    answers: Answers
    by_vectors: Tensor
    by_distance: Tensor


@dataclass(frozen=True)
class Network:
    """The compiled parts of a potential.

    Attributes
    ----------
    loops : EdgeLoops
        Before the first and after the last layer.
    layers : tuple of AnalyticLayer
        Message passing.
    readout : Readout
        Energies.
    """

    loops: EdgeLoops
    layers: tuple[AnalyticLayer, ...]
    readout: Readout

    def __call__(self, structure: Structure) -> Passed:
        """Pass forwards and backwards: compiled calls and nothing else."""
        # 1. forwards
        self.loops.harmonics_of(structure)
        h, steps = structure.features, []
        for layer in self.layers:
            h, step = layer(h, structure)
            steps.append(step)
        answers = self.readout(h, structure.species, structure.adjacency.dst_ptr)
        # 2. backwards
        *others, last = steps
        grad, by_harmonics, by_distance = last(answers.gradient, bool(others))
        for number, step in reversed(list(enumerate(others))):
            grad, g_harmonics, g_distance = step(grad, number > 0)
            self.loops.add(g_harmonics, by_harmonics)
            self.loops.add(g_distance, by_distance)
        by_vectors = self.loops.by_vectors(structure, by_harmonics)
        return Passed(h, answers, by_vectors, by_distance)


class Step:
    """Passes through a network with room for so many atoms and edges.

    A small structure takes less time than the calls for it, in Python, and arrays for
    their results. Therefore the first pass is recorded, and later ones are repetitions
    of it, on the same arrays: what is to be kept of them must be copied.

    Parameters
    ----------
    network : Network
        What to pass through.
    n_atoms, n_edges : int
        Size of the structure.

    Attributes
    ----------
    structure : Structure
        To be filled before every pass.
    """

    def __init__(self, network: Network, n_atoms: int, n_edges: int) -> None:
        self._network = network
        self._size = self._size_for(n_atoms, n_edges)
        self._recorded: tuple[Recording, Passed] | None = None
        self.structure = network.loops.room(n_atoms, self._size[1])

    def fits(self, n_atoms: int, n_edges: int) -> bool:
        """Whether a structure can be taken."""
        return n_edges <= FEW_EDGES and self._size == self._size_for(n_atoms, n_edges)

    def run(self) -> Passed:
        """Pass through the network."""
        if self._recorded is not None:
            calls, passed = self._recorded
            calls.repeat()
            return passed
        if self._size[1] > FEW_EDGES:
            return self._network(self.structure)
        with Recording() as calls:
            passed = self._network(self.structure)
        self._recorded = calls, passed
        return passed

    @staticmethod
    def _size_for(n_atoms: int, n_edges: int) -> tuple[int, int, int]:
        """Atoms, room for edges, and threads, which the calls hold."""
        return n_atoms, -(-n_edges // PORTION) * PORTION, torch.get_num_threads()
