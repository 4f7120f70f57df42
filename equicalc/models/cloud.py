"""Molecules as point clouds: elements and positions from the centroid, no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equicalc.data.fragment_batch import OnDevice
from equicalc.nn.species import SpeciesIndex

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True)
class Cloud(OnDevice):
    """Atoms of molecules, end to end.

    Attributes
    ----------
    species : (n_atoms,)
        Index of each atom's element.
    pos : (n_atoms, 3), Angstrom
        From the centroid of the molecule.
    batch : (n_atoms,)
        Molecule of each atom, ascending.
    ptr : (n_graphs + 1,)
        First atom of each molecule, and the end.
    """

    species: Tensor
    pos: Tensor
    batch: Tensor
    ptr: Tensor

    def __len__(self) -> int:
        return len(self.ptr) - 1

    @property
    def n_atoms(self) -> Tensor:
        """Atoms of each molecule, (n_graphs,)."""
        return self.ptr.diff()

    @property
    def place(self) -> Tensor:
        """Number of each atom in its molecule, (n_atoms,)."""
        atoms = torch.arange(len(self.pos), device=self.pos.device)
        return atoms - self.ptr[:-1][self.batch]

    def padded(self, values: Tensor) -> Tensor:
        """Lay values of atoms (n_atoms, ...) out as (n_graphs, n_max, ...), with zeros.

        Examples
        --------
        >>> cloud = Cloud(
        ...     *torch.zeros(2, 3), torch.tensor([0, 1, 1]), torch.tensor([0, 1, 3])
        ... )
        >>> cloud.padded(torch.tensor([1.0, 2.0, 3.0]))
        tensor([[1., 0.],
                [2., 3.]])
        """
        n_max = int(self.n_atoms.max())
        out = values.new_zeros(len(self), n_max, *values.shape[1:])
        return out.index_put((self.batch, self.place), values)


def point_cloud(graph: Data, elements: Sequence[int], dtype: torch.dtype) -> Cloud:
    """Centre the molecules of a graph; hydrogens count only if they are an element.

    Parameters
    ----------
    graph
        Molecules, see `equicalc.graph`; edges are not read.
    elements
        Atomic numbers that are known.
    dtype
        Precision of the positions.

    Raises
    ------
    ValueError
        If an element is unknown, or a molecule has no atom but hydrogens where they
        are left out.
    """
    z, pos, batch = graph["z"], graph["pos"], graph["batch"]
    if 1 not in elements:
        heavy = (z != 1).nonzero().squeeze(1)
        z, pos, batch = z[heavy], pos[heavy], batch[heavy]
    size = torch.bincount(batch, minlength=len(graph["ptr"]) - 1)
    if not size.all():
        raise ValueError(
            f"molecule {int((size == 0).nonzero()[0])} has no atoms but hydrogens, "
            f"and the model sees only the elements {list(elements)}"
        )
    species = SpeciesIndex(elements).to(z.device)(z)
    pos = pos.double()
    centre = pos.new_zeros(len(size), 3).index_add(0, batch, pos) / size.unsqueeze(1)
    ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
    return Cloud(species, (pos - centre[batch]).to(dtype), batch, ptr)
