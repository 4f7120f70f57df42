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
from equicalc.nn.radial import polynomial_envelope

__all__ = ["Pairs", "RadialSums", "Sums", "add_up"]

SOURCE = """\
#include <algorithm>
#include <cmath>
typedef {ctype} T;
constexpr int N = {n_radial}, WIDE = 7 * N;

// numbers: cutoff, where fading begins, soft core^6, reach
extern "C" void image_sums(const T* vectors, const T* distance, const T* coulomb,
                           const long* bins, const long* dst, const long* image,
                           const T* rotations, const double* numbers, T* near,
                           T* neighbours, T* attraction, T* inverse, T* sums,
                           long n_pairs) {{
  const T cutoff = numbers[0], begin = numbers[1], core = numbers[2];
  const T reach = numbers[3], norm = std::sqrt(2 * reach), pi = 3.14159265358979324;
  for (long p = 0; p < n_pairs; p++) {{
    const T r = distance[p], squared = r * r;
    const T t = std::min(std::max((r / cutoff - begin) / (1 - begin), T(0)), T(1));
    const T fade = 1 - t * t * t * (10 - 15 * t + 6 * t * t);
    const long bin = bins[p], site = dst[p];
    near[p] = fade;
    neighbours[site] += fade;
    attraction[bin] += fade / (squared * squared * squared + core);
    inverse[bin] += coulomb[p];
    if (r >= reach) continue;
    const T *v = vectors + 3 * p, *turn = rotations + 9 * image[p];
    T ones[7] = {{1, v[0] / r, v[1] / r, v[2] / r, 0, 0, 0}};
    for (int i = 0; i < 3; i++)
      for (int j = 0; j < 3; j++) ones[4 + i] += turn[3 * i + j] * ones[1 + j];
    // sin(n x) by its recurrence, under the envelope of the Bessel basis
    const T x = r / reach, x2 = x * x, x6 = x2 * x2 * x2;
    const T scale = norm / r * (1 + x6 * (x * (48 - 21 * x) - 28));
    const T twice = 2 * std::cos(pi * x);
    T waves[N], before = 0;
    waves[0] = std::sin(pi * x);
    for (int n = 1; n < N; n++) {{
      waves[n] = twice * waves[n - 1] - before;
      before = waves[n - 1];
    }}
    T* to = sums + bin * WIDE;
    for (int a = 0; a < 7; a++)
      for (int n = 0; n < N; n++) to[a * N + n] += ones[a] * scale * waves[n];
  }}
}}
"""


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
        waves = math.sqrt(2 * self.reach) * torch.sin(math.pi * x * order) / r
        return waves * polynomial_envelope(x)


def add_up(values: Tensor, index: Tensor, n: int) -> Tensor:
    """Sum values (m, ...) with the same index into (n, ...)."""
    return values.new_zeros(n, *values.shape[1:]).index_add(0, index, values)


@functools.cache
def _library(dtype: torch.dtype, n_radial: int) -> ctypes.CDLL | None:
    """Compile the loops; None if impossible."""
    if dtype not in CTYPES:
        return None
    return load_library(SOURCE.format(ctype=CTYPES[dtype], n_radial=n_radial))
