"""Sums over pairs of atoms of a crystal: what the elements do not change.

In torch where gradients are asked for, on other devices than the CPU and where nothing
can be compiled; otherwise in one compiled pass.
"""

from __future__ import annotations

import ctypes
import functools
import math
from dataclasses import astuple, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from equicalc.kernels.cpp import invoke, load_library
from equicalc.kernels.cpp_vectors import CTYPES

from .cpp_images import SUMS

__all__ = ["Pairs", "RadialSums", "Sums", "add_up"]


class Pairs(NamedTuple):
    """Pairs of atoms.

    Attributes
    ----------
    vectors : (n_pairs, 3), Angstrom
        From an atom to an image of one.
    distance : (n_pairs,), Angstrom
        Their lengths.
    inverse : (n_pairs,), 1/Angstrom
        What Coulomb energies are proportional to.
    bins : (n_pairs,)
        Which sum a pair belongs to.
    dst : (n_pairs,)
        The first atom.
    image : (n_pairs,)
        Row of `rotations` for the image.
    rotations : (n_images, 3, 3)
    """

    vectors: Tensor
    distance: Tensor
    inverse: Tensor
    bins: Tensor
    dst: Tensor
    image: Tensor
    rotations: Tensor


class Sums(NamedTuple):
    """Sums over pairs.

    Attributes
    ----------
    near : (n_pairs,)
        One, fading to zero at the cutoff.
    neighbours : (n_atoms,)
        Sum of these.
    attraction : (n_bins,), 1/Angstrom^6
        Sum of near / (r^6 + core).
    inverse : (n_bins,), 1/Angstrom
        Sum of what is given.
    waves : (n_bins, 7, n_radial)
        Sum of the radial functions, times one, the direction, and the direction turned.
    """

    near: Tensor
    neighbours: Tensor
    attraction: Tensor
    inverse: Tensor
    waves: Tensor


@dataclass(frozen=True)
class RadialSums:
    """Functions of pairs that are added up.

    Parameters
    ----------
    cutoff : float
        Angstrom.
    switch : float
        Share of the cutoff from which on pairs fade.
    core : float
        Angstrom^6, see `Sums`.
    reach : float
        Of the radial functions, Angstrom: those of `equicalc.nn.radial.BesselBasis`.
    n_radial : int
        How many.
    """

    cutoff: float
    switch: float
    core: float
    reach: float
    n_radial: int

    def __call__(self, pairs: Pairs, n_atoms: int, n_bins: int) -> Sums:
        """Add up."""
        followed = torch.is_grad_enabled() and any(one.requires_grad for one in pairs)
        plain = pairs.vectors.device.type == "cpu" and not followed
        library = _library(pairs.vectors.dtype, self.n_radial) if plain else None
        if library is None:
            return self.in_torch(pairs, n_atoms, n_bins)
        return self._compiled(library, pairs, n_atoms, n_bins)

    def in_torch(self, pairs: Pairs, n_atoms: int, n_bins: int) -> Sums:
        """Add up in torch, with gradients.

        1. Energies of pairs with everything left out that depends on the elements.
        2. Radial functions and directions of the nearer pairs.
        """
        r = pairs.distance
        # 1
        near = self._fade(r / self.cutoff)
        attraction = near / (r.square() * r.square() * r.square() + self.core)
        # 2
        close = torch.nonzero(r < self.reach).squeeze(1)
        length = r.index_select(0, close).unsqueeze(1)
        direction = pairs.vectors.index_select(0, close) / length
        turns = pairs.rotations.index_select(0, pairs.image.index_select(0, close))
        turned = (turns @ direction.unsqueeze(2)).squeeze(2)
        ones = torch.cat([torch.ones_like(length), direction, turned], 1)
        waves = (ones.unsqueeze(2) * self._waves(length).unsqueeze(1)).flatten(1)
        return Sums(
            near=near,
            neighbours=add_up(near, pairs.dst, n_atoms),
            attraction=add_up(attraction, pairs.bins, n_bins),
            inverse=add_up(pairs.inverse, pairs.bins, n_bins),
            waves=add_up(waves, pairs.bins.index_select(0, close), n_bins).view(
                n_bins, 7, self.n_radial
            ),
        )

    def _compiled(
        self, library: ctypes.CDLL, pairs: Pairs, n_atoms: int, n_bins: int
    ) -> Sums:
        n_pairs, zeros = len(pairs.distance), pairs.distance.new_zeros
        sums = Sums(
            near=torch.empty_like(pairs.distance),
            neighbours=zeros(n_atoms),
            attraction=zeros(n_bins),
            inverse=zeros(n_bins),
            waves=zeros(n_bins, 7, self.n_radial),
        )
        numbers = torch.tensor(astuple(self)[:-1], dtype=torch.float64)
        arrays = [array.contiguous() for array in pairs]
        invoke(library, "image_sums", *arrays, numbers, *sums, n_pairs)
        return sums

    def _fade(self, x: Tensor) -> Tensor:
        """One up to `switch`, smoothly to zero at one."""
        t = ((x - self.switch) / (1 - self.switch)).clamp(0, 1)
        return 1 - t**3 * (10 - 15 * t + 6 * t * t)

    def _waves(self, r: Tensor) -> Tensor:
        """Radial functions (n, n_radial) of distances (n, 1) within reach."""
        x = r / self.reach
        order = torch.arange(1, self.n_radial + 1, dtype=r.dtype, device=r.device)
        envelope = 1 + x**6 * (x * (48 - 21 * x) - 28)
        return math.sqrt(2 * self.reach) * torch.sin(math.pi * x * order) / r * envelope


def add_up(values: Tensor, index: Tensor, n: int) -> Tensor:
    """Sum values (m, ...) with the same index into (n, ...)."""
    return values.new_zeros(n, *values.shape[1:]).index_add(0, index, values)


@functools.cache
def _library(dtype: torch.dtype, n_radial: int) -> ctypes.CDLL | None:
    """Compile the loops; None if impossible."""
    if dtype not in CTYPES:
        return None
    return load_library(SUMS.format(ctype=CTYPES[dtype], n_radial=n_radial))
