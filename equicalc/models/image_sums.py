"""Sums over the images of atoms, as far as they know nothing of a network.

All images of an atom carry what a network knows of the atom itself. So functions of
distances and directions can be added up over the images first, once for every two sites
and for all members, and what a network does costs as much as for one molecule.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equicalc.models.lattice_graph import LatticeGraph
from equicalc.models.radial_sums import Pairs, RadialSums, add_up
from equicalc.nn.damped_coulomb import DampedCoulomb

SOFT_CORE = 1.0  # Angstrom
SWITCH = 0.8  # of the cutoff: from here on pairs fade


@dataclass
class ImageSums:
    """What sites see of the images of each other.

    Every two independent molecules of a crystal make a block of all their sites, with
    as many places for each molecule, ``size``, as the largest one has atoms. Of the two
    axes of places the first is that of the molecule that is seen.

    Attributes
    ----------
    blocks : (2, n_blocks)
        The molecule that sees and the one that is seen.
    slots : (n_sites,)
        Place of each site among those of all molecules.
    bins : (n_pairs,)
        Place of each pair of the graph in the blocks, (n_blocks, size, size).
    distance : (n_pairs,), Angstrom
    near : (n_pairs,)
        One, fading to zero at the cutoff.
    neighbours : (n_sites,)
        Sum of these.
    attraction : (n_blocks, size, size), 1/Angstrom^6
        Sum of 1/r^6, without its pole, fading.
    inverse : (n_blocks, size, size), 1/Angstrom
        Sum of 1/r; damped in crystals.
    waves : (n_blocks, size, size * n_radial)
        Sum of the radial functions.
    towards : (n_blocks, size, 3 * size * n_radial)
        Sum of these times the direction to the image.
    back : (n_blocks, size * 3, size * n_radial)
        The same, turned into the frame of the original.
    within : (n_molecules, size, size), 1/Angstrom
        What damping adds to 1/r within molecules.
    """

    blocks: Tensor
    slots: Tensor
    bins: Tensor
    distance: Tensor
    near: Tensor
    neighbours: Tensor
    attraction: Tensor
    inverse: Tensor
    waves: Tensor
    towards: Tensor
    back: Tensor
    within: Tensor

    @property
    def size(self) -> int:
        """Places for the atoms of a molecule."""
        return self.within.shape[1]

    def places(self, values: Tensor) -> Tensor:
        """Values of sites (n_sites, ...) as (n_molecules, size, ...), zero if empty."""
        return _placed(values, self.slots, self.within.shape[:2])

    def sites(self, values: Tensor) -> Tensor:
        """Sum blocks (n_blocks, size, ...) into the sites that see, (n_sites, ...)."""
        sums = add_up(values, self.blocks[0], len(self.within))
        return sums.flatten(0, 1).index_select(0, self.slots)


class OverImages(nn.Module):
    """Add up over images; without parameters.

    1. Blocks of molecules, and what the place of a pair in them is made of.
    2. Sums over the pairs, and those of the directions side by side.

    Parameters
    ----------
    cutoff : float
        Of the pairs, Angstrom.
    reach : float
        Of the radial functions, Angstrom.
    n_radial : int
        How many of these.
    """

    def __init__(self, cutoff: float, reach: float, n_radial: int) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.coulomb = DampedCoulomb(cutoff)
        core = SOFT_CORE**6
        self.add_up = RadialSums(self.coulomb, SWITCH, core, reach, n_radial)

    def forward(self, graph: LatticeGraph) -> ImageSums:
        """Sum over the pairs of a batch of crystals."""
        # 1
        blocks, rows, columns, seats, size = _blocks(graph)
        slots = graph.molecule * size + seats
        # 2
        pairs = Pairs(
            vectors=graph.vectors,
            dst=graph.dst,
            src=graph.src,
            image=graph.image,
            rotations=graph.rotations,
            rows=rows,
            columns=columns,
            seats=seats,
            damped=graph.periodic[graph.crystal[graph.molecule]],
        )
        sums = self.add_up(pairs, blocks.shape[1], size)
        return ImageSums(
            blocks=blocks,
            slots=slots,
            bins=sums.bins,
            distance=sums.distance,
            near=sums.near,
            neighbours=sums.neighbours,
            attraction=sums.attraction,
            inverse=sums.inverse,
            waves=sums.waves.flatten(2),
            towards=sums.towards.flatten(2),
            back=sums.back.flatten(3).flatten(1, 2),
            within=self._within(graph, slots, size),
        )

    def _within(self, graph: LatticeGraph, slots: Tensor, size: int) -> Tensor:
        """Return what damping adds within molecules, as `ImageSums` has it."""
        shape = torch.Size([len(graph.weight), size])
        pos = _placed(graph.pos, slots, shape)
        filled = _placed(torch.ones_like(graph.pos[:, 0]), slots, shape).bool()
        apart = torch.ones(size, size, device=pos.device).fill_diagonal_(0).bool()
        pairs = filled.unsqueeze(2) & filled.unsqueeze(1) & apart
        squared = (pos.unsqueeze(2) - pos.unsqueeze(1)).square().sum(3)
        r = torch.where(pairs, squared, 1.0).sqrt()
        added = self.coulomb(r.clamp(max=self.cutoff)) - 1 / r
        own = filled.unsqueeze(2) & ~apart
        return torch.where(own, self.coulomb.own, torch.where(pairs, added, 0.0))


def _placed(values: Tensor, slots: Tensor, shape: torch.Size) -> Tensor:
    """Put values (n, ...) into slots of an empty array (*shape, ...)."""
    empty = values.new_zeros(shape.numel(), *values.shape[1:])
    return empty.index_copy(0, slots, values).unflatten(0, shape)


def _blocks(graph: LatticeGraph) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Blocks and size as `ImageSums` has them; rows, columns and seats as `Pairs`.

    1. Places of the sites in their molecules.
    2. Every molecule sees all of its crystal: one block after the other.
    3. A pair is in the block of its molecules, in the row of `src`, at `dst`.
    """
    n = len(graph.weight)
    # 1
    n_atoms = torch.bincount(graph.molecule, minlength=n)
    first = n_atoms.cumsum(0) - n_atoms
    size = int(n_atoms.max()) if n else 0
    seats = torch.arange(len(graph.z), device=first.device) - first[graph.molecule]
    # 2
    partners = torch.bincount(graph.crystal, minlength=1)  # (n_crystals,)
    begin = partners.cumsum(0) - partners  # first molecule of each crystal
    n_seen = partners[graph.crystal]  # (n_molecules,)
    block = n_seen.cumsum(0) - n_seen  # first of each molecule
    seeing = torch.arange(n, device=first.device).repeat_interleave(n_seen)
    nth = torch.arange(len(seeing), device=first.device) - block[seeing]
    blocks = torch.stack([seeing, begin[graph.crystal][seeing] + nth])
    # 3
    place = torch.arange(n, device=first.device) - begin[graph.crystal]
    rows = block[graph.molecule] * size * size + seats
    columns = (place[graph.molecule] * size + seats) * size
    return blocks, rows, columns, seats, size
