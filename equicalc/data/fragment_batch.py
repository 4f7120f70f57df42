"""Fragments as a network sees them: heavy atoms as nodes, hydrogens around them.

Fragments that differ in their hydrogens only share one *skeleton* of heavy atoms, so
that all steps of adding hydrogens to a molecule cost one pass over its heavy atoms.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from equicalc.graph import molecule_edges

__all__ = ["FragmentBatch", "Molecules", "OnDevice", "Queries"]


class OnDevice:
    """A dataclass of tensors that moves, or changes precision, as a whole."""

    def to(self, device: str | torch.device, **kwargs: bool) -> Self:
        """Return a copy on a device."""
        moved = {
            field.name: getattr(self, field.name).to(device, **kwargs)
            for field in dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
        }
        return type(self)(**moved)

    def double(self) -> Self:
        """Return a copy with real numbers in double precision."""
        fields = [getattr(self, field.name) for field in dataclasses.fields(self)]  # pyright: ignore[reportArgumentType]
        return type(self)(
            *(
                each.double()
                if isinstance(each, OnDevice) or each.is_floating_point()
                else each
                for each in fields
            )
        )


@dataclass(frozen=True)
class Molecules(OnDevice):
    """Whole or growing molecules, padded; heavy atoms and hydrogens apart.

    Attributes
    ----------
    heavy : (n_molecules, n_heavy_max)
        Species of the heavy atoms, an index.
    heavy_pos : (n_molecules, n_heavy_max, 3), Angstrom
    hydrogen_pos : (n_molecules, n_hydrogen_max, 3), Angstrom
    """

    heavy: Tensor
    heavy_pos: Tensor
    hydrogen_pos: Tensor


@dataclass(frozen=True)
class FragmentBatch(OnDevice):
    """Fragments: the first heavy atoms and the first hydrogens of some molecules.

    Attributes
    ----------
    molecules
        What the fragments are parts of.
    molecule, n_heavy, n_hydrogen : (n_fragments,)
        Molecule of each fragment, and how many of its atoms are there.
    species : (n_nodes,)
        Of the heavy atoms of all skeletons, end to end.
    skeleton_size : (n_nodes,)
        Heavy atoms of the skeleton that each is part of.
    edges : (2, n_edges)
        Sender and receiver within the skeletons, sorted by receiver.
    edge_vectors : (n_edges, 3), Angstrom
        From receiver to sender.
    first_node : (n_fragments,)
        First node of the skeleton of each fragment.
    pair_fragment, pair_node : (n_pairs,)
        Every heavy atom of every fragment, sorted by fragment: possible foci.
    hydrogen_pair : (n_hydrogen_edges,)
        Pairs that have a hydrogen near, sorted.
    hydrogen_vectors : (n_hydrogen_edges, 3), Angstrom
        From the pair's atom to the hydrogen.
    """

    molecules: Molecules
    molecule: Tensor
    n_heavy: Tensor
    n_hydrogen: Tensor
    species: Tensor
    skeleton_size: Tensor
    edges: Tensor
    edge_vectors: Tensor
    first_node: Tensor
    pair_fragment: Tensor
    pair_node: Tensor
    hydrogen_pair: Tensor
    hydrogen_vectors: Tensor

    def __len__(self) -> int:
        return len(self.molecule)

    @classmethod
    def build(
        cls,
        molecules: Molecules,
        molecule: Tensor,
        n_heavy: Tensor,
        n_hydrogen: Tensor,
        cutoff: float,
        hydrogen_cutoff: float,
    ) -> Self:
        """Find skeletons, pairs and edges.

        Parameters
        ----------
        molecules, molecule, n_heavy, n_hydrogen
            See the class.
        cutoff : Angstrom
            Between heavy atoms.
        hydrogen_cutoff : Angstrom
            Between possible foci and hydrogens.
        """
        device = molecule.device
        n_max, h_max = molecules.heavy.shape[1], molecules.hydrogen_pos.shape[1]
        rank = torch.arange(n_max, device=device)
        # skeletons: different pairs of molecule and number of heavy atoms
        key = molecule * (n_max + 1) + n_heavy
        skeletons, skeleton = key.unique(return_inverse=True)
        owner, size = skeletons // (n_max + 1), skeletons % (n_max + 1)
        row, column = (rank < size[:, None]).nonzero(as_tuple=True)
        pos = molecules.heavy_pos[owner[row], column]  # (n_nodes, 3)
        ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
        edges = molecule_edges(pos, ptr, cutoff)
        # pairs
        first_node = ptr[skeleton]
        pair_fragment, place = (rank < n_heavy[:, None]).nonzero(as_tuple=True)
        # hydrogens
        heavy_pos, hydrogen_pos = molecules.heavy_pos, molecules.hydrogen_pos
        near = torch.cdist(heavy_pos, hydrogen_pos) < hydrogen_cutoff
        there = torch.arange(h_max, device=device) < n_hydrogen[:, None]
        near = near[molecule[pair_fragment], place] & there[pair_fragment]
        hydrogen_pair, hydrogen = near.nonzero(as_tuple=True)
        home = molecule[pair_fragment[hydrogen_pair]]
        return cls(
            molecules,
            molecule,
            n_heavy,
            n_hydrogen,
            molecules.heavy[owner[row], column],
            size[row],
            edges,
            pos[edges[0]] - pos[edges[1]],
            first_node,
            pair_fragment,
            first_node[pair_fragment] + place,
            hydrogen_pair,
            hydrogen_pos[home, hydrogen] - heavy_pos[home, place[hydrogen_pair]],
        )

    def queries(
        self, fragment: Tensor, focus: Tensor, species: Tensor, cutoff: float
    ) -> Queries:
        """Ask for positions around foci.

        Parameters
        ----------
        fragment, focus, species : (n_queries,)
            Fragment, heavy atom of it (counted from 0), species of the atom to come.
        cutoff : Angstrom
            How far the focus looks.
        """
        home = self.molecule[fragment]
        centre = self.molecules.heavy_pos[home, focus]  # (n_queries, 3)
        around = torch.cat(
            [self.molecules.heavy_pos[home], self.molecules.hydrogen_pos[home]], 1
        )
        vectors = around - centre[:, None]  # (n_queries, n_heavy_max + h_max, 3)
        n_max = self.molecules.heavy.shape[1]
        place = torch.arange(vectors.shape[1], device=fragment.device)
        is_heavy = place < n_max
        there = torch.where(
            is_heavy,
            (place < self.n_heavy[fragment][:, None]) & (place != focus[:, None]),
            place - n_max < self.n_hydrogen[fragment][:, None],
        )
        near = there & (torch.linalg.vector_norm(vectors, dim=2) < cutoff)
        receiver, sender = near.nonzero(as_tuple=True)
        node = self.first_node[fragment]
        hydrogens = len(self.species)  # the node after the last stands for them all
        source = torch.where(is_heavy[sender], node[receiver] + sender, hydrogens)
        return Queries(
            species,
            node + focus,
            torch.stack([source, receiver]),
            vectors[receiver, sender],
        )


@dataclass(frozen=True)
class Queries(OnDevice):
    """Where to place an atom of a species at a focus.

    Attributes
    ----------
    species : (n_queries,)
        Of the atom to place.
    node : (n_queries,)
        Node of the focus.
    edges : (2, n_edges)
        Node around the focus and query; one more node stands for all hydrogens.
    edge_vectors : (n_edges, 3), Angstrom
        From the focus.
    """

    species: Tensor
    node: Tensor
    edges: Tensor
    edge_vectors: Tensor
