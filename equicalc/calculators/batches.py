"""Structures as batches of graphs, for networks that need no calculator."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from equicalc.calculators.committee import numbered
from equicalc.calculators.neighbors import VerletList
from equicalc.calculators.prediction import graph_of
from equicalc.calculators.structures import check_elements
from equicalc.graph import collate

if TYPE_CHECKING:
    from ase import Atoms
    from torch_geometric.data import Data


def graph_batches(
    structures: Sequence[Atoms],
    elements: Collection[int],
    cutoff: float,
    batch_size: int,
    device: str = "cpu",
) -> Iterator[Data]:
    """Yield structures as graphs, `batch_size` of them in each.

    Parameters
    ----------
    structures
        In this order.
    elements
        Atomic numbers that they may have.
    cutoff
        How far edges go, Angstrom.
    batch_size
        The last batch may be smaller.
    device
        Where the graphs go.

    Raises
    ------
    InputError
        If an element is unknown; it names element and structure.
    CalculationFailed
        If two atoms of a structure overlap.
    """
    neighbors = VerletList(cutoff)
    for start in range(0, len(structures), batch_size):
        graphs = []
        for k, atoms in enumerate(structures[start : start + batch_size], start):
            with numbered(k):
                check_elements(atoms, tuple(elements))
                graphs.append(graph_of(atoms, neighbors(atoms)))
        yield collate(graphs).to(device)
