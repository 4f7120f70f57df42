"""Sums over the images of atoms, as far as they know nothing of a network.

All images of an atom carry what a network knows of the atom itself. So functions of
distances and directions can be added up over the images first, once for every two sites
and for all members, and what a network does costs as much as for one molecule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equicalc.models.lattice_graph import LatticeGraph
from equicalc.models.radial_sums import Pairs, RadialSums, add_up

DAMPING = 0.25  # 1/Angstrom
SOFT_CORE = 1.0  # Angstrom
SWITCH = 0.8  # of the cutoff: from here on pairs fade


@dataclass
class ImageSums:
    """What sites see of the images of each other.

    Every two independent molecules of a crystal make a block of all their sites, with
    as many places for each molecule, ``size``, as the largest one has atoms.

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
    waves : (n_blocks, size * n_radial, size)
        Sum of the radial functions.
    towards : (n_blocks, size * n_radial * 3, size)
        Sum of these times the direction to the image.
    back : (n_blocks, size * n_radial, size * 3)
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

    1. Blocks of molecules, and the places of pairs in them.
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
        self.add_up = RadialSums(cutoff, SWITCH, SOFT_CORE**6, reach, n_radial)

    def forward(self, graph: LatticeGraph) -> ImageSums:
        """Sum over the pairs of a batch of crystals."""
        # 1
        blocks, slots, bins, size = _blocks(graph)
        shape = (blocks.shape[1], size, size)
        # 2
        r = torch.linalg.vector_norm(graph.vectors, dim=1)
        periodic = graph.periodic[graph.crystal[graph.molecule]]  # (n_sites,)
        damped = periodic.index_select(0, graph.dst)
        pairs = Pairs(
            vectors=graph.vectors,
            distance=r,
            inverse=torch.where(damped, self.coulomb(r), 1 / r),
            bins=bins,
            dst=graph.dst,
            image=graph.image,
            rotations=graph.rotations,
        )
        sums = self.add_up(pairs, len(graph.z), math.prod(shape))
        waves = sums.waves.view(*shape, *sums.waves.shape[1:])
        return ImageSums(
            blocks=blocks,
            slots=slots,
            bins=bins,
            distance=r,
            near=sums.near,
            neighbours=sums.neighbours,
            attraction=sums.attraction.view(shape),
            inverse=sums.inverse.view(shape),
            waves=waves[..., 0, :].transpose(2, 3).flatten(1, 2),
            towards=waves[..., 1:4, :].permute(0, 1, 4, 3, 2).flatten(1, 3),
            back=waves[..., 4:, :].permute(0, 1, 4, 2, 3).flatten(3, 4).flatten(1, 2),
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


class DampedCoulomb(nn.Module):
    """Damped 1/r with energies and forces shifted to zero at the cutoff [1]_, [2]_.

    Parameters
    ----------
    cutoff : float
        Angstrom.

    References
    ----------
    .. [1] D. Wolf et al., J. Chem. Phys. 110, 8254 (1999).
    .. [2] C. J. Fennell, J. D. Gezelter, J. Chem. Phys. 124, 234104 (2006).
    """

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        x = DAMPING * cutoff
        self.energy = math.erfc(x) / cutoff
        bell = 2 * DAMPING / math.sqrt(math.pi) * math.exp(-x * x)
        self.slope = (self.energy + bell) / cutoff
        #: What it gives at zero less 1/r, 1/Angstrom.
        self.own = -2 * DAMPING / math.sqrt(math.pi) - self.energy - self.slope * cutoff

    def forward(self, r: Tensor) -> Tensor:
        """Evaluate at distances (Angstrom), 1/Angstrom."""
        return (
            torch.erfc(DAMPING * r) / r - self.energy + self.slope * (r - self.cutoff)
        )


def _placed(values: Tensor, slots: Tensor, shape: torch.Size) -> Tensor:
    """Put values (n, ...) into slots of an empty array (*shape, ...)."""
    empty = values.new_zeros(shape.numel(), *values.shape[1:])
    return empty.index_copy(0, slots, values).unflatten(0, shape)


def _blocks(graph: LatticeGraph) -> tuple[Tensor, Tensor, Tensor, int]:
    """Blocks, slots, bins and size as `ImageSums` has them.

    1. Places of the sites in their molecules.
    2. Every molecule sees all of its crystal: one block after the other.
    3. A pair is in the block of its molecules, in the row of `dst`, at `src`.
    """
    n = len(graph.weight)
    # 1
    n_atoms = torch.bincount(graph.molecule, minlength=n)
    first = n_atoms.cumsum(0) - n_atoms
    size = int(n_atoms.max()) if n else 0
    number = torch.arange(len(graph.z), device=first.device) - first[graph.molecule]
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
    row = (block[graph.molecule] * size + number) * size
    column = place[graph.molecule] * size * size + number
    bins = row.index_select(0, graph.dst) + column.index_select(0, graph.src)
    return blocks, graph.molecule * size + number, bins, size
