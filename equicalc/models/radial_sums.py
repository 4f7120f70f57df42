"""Sums over pairs of atoms of a crystal: what the elements do not change.

In torch where gradients are asked for, on other devices than the CPU and where nothing
can be compiled; otherwise in one compiled pass.
"""

from __future__ import annotations

import ctypes
import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from equicalc.kernels.cpp import invoke, load_library
from equicalc.kernels.cpp_vectors import CTYPES
from equicalc.nn.damped_coulomb import DampedCoulomb
from equicalc.nn.radial import polynomial_envelope

__all__ = ["Pairs", "RadialSums", "Sums", "add_up"]

SOURCE = """\
#include <algorithm>
#include <cmath>
typedef {ctype} T;
constexpr int N = {n_radial}, AT_ONCE = 128;

// sine and cosine of pi x for x from 0 to 1: Taylor series around the middle
static inline void sine(double x, double* sin, double* cos) {{
  const double y = 3.14159265358979324 * (x - 0.5), y2 = y * y;
  double even = 1, odd = 1;
#pragma GCC unroll 10
  for (int k = 10; k > 0; k--) {{
    even = 1 - even * y2 * (1.0 / (2 * k * (2 * k - 1)));
    odd = 1 - odd * y2 * (1.0 / (2 * k * (2 * k + 1)));
  }}
  *sin = even;
  *cos = -y * odd;
}}

static inline void add(T factor, const T* wave, T* to) {{
#pragma omp simd
  for (int k = 0; k < N; k++) to[k] += factor * wave[k];
}}

// numbers: cutoff, where fading begins, soft core^6, reach; series: of Chebyshev
extern "C" void image_sums(const T* vectors, const long* dst, const long* src,
                           const long* image, const T* rotations, const long* rows,
                           const long* columns, const long* seats, const bool* damped,
                           const double* numbers, const double* series, T* distance,
                           T* near, long* bins, T* neighbours, T* attraction,
                           T* inverse, T* waves, T* towards, T* back, long size,
                           long n_terms, long n_pairs) {{
  const double cutoff = numbers[0], begin = numbers[1], core = numbers[2];
  const double reach = numbers[3], norm = std::sqrt(2 * reach);
  double r[AT_ONCE], fade[AT_ONCE], sixth[AT_ONCE], plain[AT_ONCE], added[AT_ONCE];
  double twice[AT_ONCE], one[AT_ONCE], two[AT_ONCE];
  double shorter[AT_ONCE], scale[AT_ONCE], sin[AT_ONCE], cos[AT_ONCE];
  T wave[AT_ONCE][N];
  int close[AT_ONCE];
  for (long start = 0; start < n_pairs; start += AT_ONCE) {{
    const int n = std::min<long>(AT_ONCE, n_pairs - start);
    const T* v = vectors + 3 * start;
#pragma omp simd
    for (int p = 0; p < n; p++) {{
      const double x = v[3 * p], y = v[3 * p + 1], z = v[3 * p + 2];
      const double r2 = x * x + y * y + z * z, length = std::sqrt(r2);
      double t = (length / cutoff - begin) / (1 - begin);
      t = t < 0 ? 0 : t > 1 ? 1 : t;
      r[p] = length;
      fade[p] = 1 - t * t * t * (10 - 15 * t + 6 * t * t);
      sixth[p] = fade[p] / (r2 * r2 * r2 + core);
      twice[p] = 4 * (length < cutoff ? length / cutoff : 1) - 2;
      one[p] = two[p] = 0;
    }}
    for (long k = n_terms - 1; k > 0; k--)
#pragma omp simd
      for (int p = 0; p < n; p++) {{
        const double next = twice[p] * one[p] - two[p] + series[k];
        two[p] = one[p];
        one[p] = next;
      }}
#pragma omp simd
    for (int p = 0; p < n; p++) {{
      added[p] = 0.5 * twice[p] * one[p] - two[p] + series[0];
      plain[p] = 1 / r[p];
    }}
    int n_close = 0;
    for (int p = 0; p < n; p++) {{
      const long q = start + p, site = dst[q], bin = rows[site] + columns[src[q]];
      distance[q] = r[p];
      near[q] = fade[p];
      bins[q] = bin;
      neighbours[site] += fade[p];
      attraction[bin] += sixth[p];
      inverse[bin] += plain[p] + (damped[site] ? added[p] : 0);
      close[n_close] = p;
      shorter[n_close] = r[p];
      n_close += r[p] < reach;
    }}
#pragma omp simd
    for (int c = 0; c < n_close; c++) {{
      const double length = shorter[c], x = length / reach;
      const double x2 = x * x, x6 = x2 * x2 * x2;
      scale[c] = norm / length * (1 + x6 * (x * (48 - 21 * x) - 28));
      sine(x, sin + c, cos + c);
    }}
    for (int c = 0; c < n_close; c++) {{
      // sin(n x) by its recurrence, under the envelope of the Bessel basis
      double now = scale[c] * sin[c], before = 0;
      for (int k = 0; k < N; k++) {{
        wave[c][k] = now;
        const double next = 2 * cos[c] * now - before;
        before = now;
        now = next;
      }}
    }}
    for (int c = 0; c < n_close; c++) {{
      const int p = close[c];
      const long q = start + p, seat = seats[dst[q]], first = bins[q] - seat;
      const T *turn = rotations + 9 * image[q], length = r[p];
      const T* to = v + 3 * p;
      const T d[3] = {{to[0] / length, to[1] / length, to[2] / length}};
      add(1, wave[c], waves + N * (first + seat));
      for (int i = 0; i < 3; i++) {{
        const long at = N * (3 * first + i * size + seat);
        const T *t = turn + 3 * i, turned = t[0] * d[0] + t[1] * d[1] + t[2] * d[2];
        add(d[i], wave[c], towards + at);
        add(turned, wave[c], back + at);
      }}
    }}
  }}
}}
"""


class Pairs(NamedTuple):
    """Pairs of atoms, and the blocks that they are added up in.

    A block has a place for each atom that sees one that is seen, the former the faster.

    Attributes
    ----------
    vectors : (n_pairs, 3), Angstrom
        From an atom to an image of one.
    dst, src : (n_pairs,)
        The first atom, and the original of the second.
    image : (n_pairs,)
        Row of `rotations` for the image.
    rotations : (n_images, 3, 3)
    rows, columns : (n_atoms,)
        The place of a pair among those of all blocks is the sum of the number of its
        first atom in `rows` and that of the second one in `columns`.
    seats : (n_atoms,)
        Number of each atom in its molecule.
    damped : (n_atoms,)
        Whether Coulomb energies of the pairs of a first atom are.
    """

    vectors: Tensor
    dst: Tensor
    src: Tensor
    image: Tensor
    rotations: Tensor
    rows: Tensor
    columns: Tensor
    seats: Tensor
    damped: Tensor


class Sums(NamedTuple):
    """Sums over pairs.

    Attributes
    ----------
    distance : (n_pairs,), Angstrom
    near : (n_pairs,)
        One, fading to zero at the cutoff.
    bins : (n_pairs,)
        Place of each pair among those of all blocks.
    neighbours : (n_atoms,)
        Sum of `near`.
    attraction : (n_blocks, size, size), 1/Angstrom^6
        Sum of near / (r^6 + core).
    inverse : (n_blocks, size, size), 1/Angstrom
        Sum of 1/r, or of what it is damped to.
    waves : (n_blocks, size, size, n_radial)
        Sum of the radial functions.
    towards, back : (n_blocks, size, 3, size, n_radial)
        Sum of these times the direction, and times the direction turned.
    """

    distance: Tensor
    near: Tensor
    bins: Tensor
    neighbours: Tensor
    attraction: Tensor
    inverse: Tensor
    waves: Tensor
    towards: Tensor
    back: Tensor


@dataclass(frozen=True)
class RadialSums:
    """Functions of pairs that are added up.

    Parameters
    ----------
    coulomb : DampedCoulomb
        Its cutoff is that of all pairs.
    switch : float
        Share of the cutoff from which on pairs fade.
    core : float
        Angstrom^6, see `Sums`.
    reach : float
        Of the radial functions, Angstrom: those of `equicalc.nn.radial.BesselBasis`.
    n_radial : int
        How many.
    """

    coulomb: DampedCoulomb
    switch: float
    core: float
    reach: float
    n_radial: int

    def __call__(self, pairs: Pairs, n_blocks: int, size: int) -> Sums:
        """Add up in so many blocks, which have room for molecules of a size."""
        followed = torch.is_grad_enabled() and any(one.requires_grad for one in pairs)
        plain = pairs.vectors.device.type == "cpu" and not followed
        library = _library(pairs.vectors.dtype, self.n_radial) if plain else None
        if library is None:
            return self.in_torch(pairs, n_blocks, size)
        return self._compiled(library, pairs, n_blocks, size)

    def in_torch(self, pairs: Pairs, n_blocks: int, size: int) -> Sums:
        """Add up in torch, with gradients.

        1. Energies of pairs with everything left out that depends on the elements.
        2. Radial functions and directions of the nearer pairs.
        """
        shape, n_bins = (n_blocks, size, size), n_blocks * size * size
        bins = pairs.rows.index_select(0, pairs.dst)
        bins = bins + pairs.columns.index_select(0, pairs.src)
        r = torch.linalg.vector_norm(pairs.vectors, dim=1)
        # 1
        near = self._fade(r / self.coulomb.cutoff)
        attraction = near / (r.square() * r.square() * r.square() + self.core)
        damped = pairs.damped.index_select(0, pairs.dst)
        inverse = torch.where(damped, self.coulomb(r), 1 / r)
        # 2
        close = torch.nonzero(r < self.reach).squeeze(1)
        length = r.index_select(0, close).unsqueeze(1)
        direction = pairs.vectors.index_select(0, close) / length
        turns = pairs.rotations.index_select(0, pairs.image.index_select(0, close))
        turned = (turns @ direction.unsqueeze(2)).squeeze(2)
        ones = torch.cat([torch.ones_like(length), direction, turned], 1)
        each = (ones.unsqueeze(2) * self._waves(length).unsqueeze(1)).flatten(1)
        waves = add_up(each, bins.index_select(0, close), n_bins)
        waves = waves.view(*shape, 7, self.n_radial).transpose(2, 3)
        return Sums(
            distance=r,
            near=near,
            bins=bins,
            neighbours=add_up(near, pairs.dst, len(pairs.rows)),
            attraction=add_up(attraction, bins, n_bins).view(shape),
            inverse=add_up(inverse, bins, n_bins).view(shape),
            waves=waves[:, :, 0],
            towards=waves[:, :, 1:4],
            back=waves[:, :, 4:],
        )

    def _compiled(
        self, library: ctypes.CDLL, pairs: Pairs, n_blocks: int, size: int
    ) -> Sums:
        n_pairs, shape = len(pairs.vectors), (n_blocks, size, size)
        empty, zeros = pairs.vectors.new_empty, pairs.vectors.new_zeros
        sums = Sums(
            distance=empty(n_pairs),
            near=empty(n_pairs),
            bins=torch.empty_like(pairs.dst),
            neighbours=zeros(len(pairs.rows)),
            attraction=zeros(shape),
            inverse=zeros(shape),
            waves=zeros(*shape, self.n_radial),
            towards=zeros(n_blocks, size, 3, size, self.n_radial),
            back=zeros(n_blocks, size, 3, size, self.n_radial),
        )
        constants = (self.coulomb.cutoff, self.switch, self.core, self.reach)
        numbers = torch.tensor(constants, dtype=torch.float64)
        series = torch.from_numpy(self.coulomb.series)
        arrays = [array.contiguous() for array in pairs]
        lengths = (size, len(series), n_pairs)
        invoke(library, "image_sums", *arrays, numbers, series, *sums, *lengths)
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
