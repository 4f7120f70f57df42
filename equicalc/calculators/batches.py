"""Structures as batches of graphs, for networks that need no calculator."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from equicalc.calculators.committee import numbered
from equicalc.calculators.neighbors import VerletList
from equicalc.calculators.prediction import graph_of
from equicalc.calculators.states import OF_NETWORK, check_neutral_closed_shell
from equicalc.calculators.structures import check_elements, check_molecule
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
    *,
    molecules_only: bool,
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
    molecules_only
        Refuse periodic structures.

    Raises
    ------
    InputError
        If an element is unknown, or a structure is charged, of open shells, or
        periodic where none may be; it names what is wrong and the structure.
    CalculationFailed
        If two atoms of a structure overlap.
    """
    neighbors = VerletList(cutoff)
    for start in range(0, len(structures), batch_size):
        graphs = []
        for k, atoms in enumerate(structures[start : start + batch_size], start):
            with numbered(k):
                check_elements(atoms, tuple(elements))
                check_neutral_closed_shell(atoms, OF_NETWORK)
                if molecules_only:
                    check_molecule(atoms)
                graphs.append(graph_of(atoms, neighbors(atoms)))
        yield collate(graphs).to(device)
