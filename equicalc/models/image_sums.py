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
from equicalc.nn.radial import BesselBasis

DAMPING = 0.25  # 1/Angstrom
SOFT_CORE = 1.0  # Angstrom
SWITCH = 0.8  # of the cutoff: from here on pairs fade


@dataclass
class ImageSums:
    """What sites see of the images of each other.

    Independent molecules that see images of each other make a block of all their sites,
    with as many places for each molecule, ``size``, as the largest one has atoms.

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
    2. Energies of pairs with everything left out that depends on the elements.
    3. Radial functions and directions of the nearer pairs.

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
        self.coulomb = DampedCoulomb(cutoff)
        self.cutoff, self.reach = cutoff, reach
        self.basis = BesselBasis(reach, n_radial)

    def forward(self, graph: LatticeGraph) -> ImageSums:
        """Sum over the pairs of a batch of crystals."""
        r = torch.linalg.vector_norm(graph.vectors, dim=1)
        # 1
        blocks, slots, bins, size = _blocks(graph)
        shape = (blocks.shape[1], size, size)
        n_bins = math.prod(shape)
        # 2
        near = _fade(r / self.cutoff)
        attraction = near / (r.square() * r.square() * r.square() + SOFT_CORE**6)
        periodic = graph.periodic[graph.crystal[graph.molecule]]  # (n_sites,)
        damped = periodic.index_select(0, graph.dst)
        inverse = torch.where(damped, self.coulomb(r), 1 / r)
        # 3
        close = torch.nonzero(r < self.reach).squeeze(1)
        ones, waves = self._waves(graph, r, close)  # (n_close, 7 or n_radial)
        each = (ones.unsqueeze(2) * waves.unsqueeze(1)).flatten(1)
        sums = add_up(each, bins.index_select(0, close), n_bins)
        sums = sums.view(*shape, *ones.shape[1:], *waves.shape[1:])
        return ImageSums(
            blocks=blocks,
            slots=slots,
            bins=bins,
            distance=r,
            near=near,
            neighbours=add_up(near, graph.dst, len(graph.z)),
            attraction=add_up(attraction, bins, n_bins).view(shape),
            inverse=add_up(inverse, bins, n_bins).view(shape),
            waves=sums[..., 0, :].transpose(2, 3).flatten(1, 2),
            towards=sums[..., 1:4, :].permute(0, 1, 4, 3, 2).flatten(1, 3),
            back=sums[..., 4:, :].permute(0, 1, 4, 2, 3).flatten(3, 4).flatten(1, 2),
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

    def _waves(
        self, graph: LatticeGraph, r: Tensor, close: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One and both directions of close pairs (n_close, 7), and radial functions."""
        length = r.index_select(0, close)
        direction = graph.vectors.index_select(0, close) / length.unsqueeze(1)
        image = graph.image.index_select(0, close)
        turns = graph.rotations.index_select(0, image)  # (n_close, 3, 3)
        turned = (turns @ direction.unsqueeze(2)).squeeze(2)
        ones = torch.cat([torch.ones_like(turned[:, :1]), direction, turned], 1)
        return ones, self.basis(length)


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


def add_up(values: Tensor, index: Tensor, n: int) -> Tensor:
    """Sum values (m, ...) with the same index into (n, ...)."""
    return values.new_zeros(n, *values.shape[1:]).index_add(0, index, values)


def _placed(values: Tensor, slots: Tensor, shape: torch.Size) -> Tensor:
    """Put values (n, ...) into slots of an empty array (*shape, ...)."""
    empty = values.new_zeros(shape.numel(), *values.shape[1:])
    return empty.index_copy(0, slots, values).unflatten(0, shape)


def _blocks(graph: LatticeGraph) -> tuple[Tensor, Tensor, Tensor, int]:
    """Blocks, slots, bins and size as `ImageSums` has them."""
    n_atoms = torch.bincount(graph.molecule, minlength=len(graph.weight))
    first = n_atoms.cumsum(0) - n_atoms
    size = int(n_atoms.max()) if len(n_atoms) else 0
    number = torch.arange(len(graph.z), device=first.device) - first[graph.molecule]
    seeing = graph.molecule.index_select(0, graph.dst)
    seen = graph.molecule.index_select(0, graph.src)
    both = seeing * len(graph.weight) + seen
    used = torch.zeros(len(graph.weight) ** 2, dtype=torch.bool, device=both.device)
    used.index_fill_(0, both, True)
    kept = used.nonzero().squeeze(1)
    blocks = torch.stack([kept // len(graph.weight), kept % len(graph.weight)])
    block = (used.cumsum(0) - 1).index_select(0, both)
    row = block * size + number.index_select(0, graph.dst)
    bins = row * size + number.index_select(0, graph.src)
    return blocks, graph.molecule * size + number, bins, size


def _fade(x: Tensor) -> Tensor:
    """One up to `SWITCH`, smoothly to zero at one."""
    t = ((x - SWITCH) / (1 - SWITCH)).clamp(0, 1)
    return 1 - t**3 * (10 - 15 * t + 6 * t * t)
