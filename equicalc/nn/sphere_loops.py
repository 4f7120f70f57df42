"""`SphereCells` in compiled loops: integrals of densities, and draws from them.

They do what `SphereCells.cut`, `SphereDensity` and `SphereSampler` do in torch, density
by density, so that a density's cells stay in the processor's cache.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from equicalc.kernels.cpp import invoke, load_library
from equicalc.kernels.cpp_vectors import CTYPES
from equicalc.nn.sphere_cells import SphereCells
from equicalc.nn.sphere_source import LANES, cells_source

INTEGRALS = """\
// log of the integral and its gradient, K x C
template <long C>
static void integrate_one(Density<C>& density, const T* a, double share, T* log_z,
                          T* gradient) {
  density.cut(a, 1, share, false);
  T* masses = density.masses();
  auto skip = [](const long* child, long n, T* masses) {
    for (long c = 0; c < C; c++)
      for (long i = 0; i < n; i++)
        if (child[i] >= 0) masses[c * n + i] = NONE;
    return most_of(masses, C * n);
  };
  T most = skip(density.child.data(), N, masses);
  for (auto& block : density.blocks)
    most = std::max(most, skip(block.child, B, block.masses[0]));
  T sum = sum_of_exp(masses, C * N, most);
  for (auto& block : density.blocks) sum += sum_of_exp(block.masses[0], C * B, most);
  *log_z = most + std::log(sum);
  if (!gradient) return;
  T lanes[C][K][LANES] = {};
  auto pull = [&](const T* harmonics, const T* masses, long n) {
    for (long c = 0; c < C; c++)
      for (long i = 0; i < n; i += LANES) {
        T p[LANES];
#pragma omp simd
        for (long j = 0; j < LANES; j++) p[j] = expo(masses[c * n + i + j] - *log_z);
        for (long k = 0; k < K; k++)
#pragma omp simd
          for (long j = 0; j < LANES; j++)
            lanes[c][k][j] += p[j] * harmonics[k * n + i + j];
      }
  };
  pull(density.tables.harmonics, masses, N);
  for (auto& block : density.blocks)
    pull(block.parts.harmonics[0], block.masses[0], B);
  for (long c = 0; c < C; c++)
    for (long k = 0; k < K; k++)
      for (long j = 0; j < LANES; j++) gradient[k * C + c] += lanes[c][k][j];
}

// one of n by its log weight; u is left with where in its share it was
static long drawn(const T* logits, long n, double& u) {
  const T most = most_of(logits, n);
  std::vector<T> weights(n);
#pragma omp simd
  for (long i = 0; i < n; i++) weights[i] = expo(logits[i] - most);
  double total = 0, before = 0;
  for (long i = 0; i < n; i++) total += weights[i];
  const double at = u * total;
  long i = 0;
  while (i < n - 1 && before + weights[i] <= at) before += weights[i++];
  u = std::min(std::max((at - before) / weights[i], 0.0), 1 - 1e-12);
  return i;
}

// masses of cells that are cut become those of their parts
template <long C> static void add_up(Density<C>& density) {
  std::vector<T> total(density.blocks.size() * C);
  auto take = [&](const long* child, long n, T* masses) {
    for (long m = 0; m < density.M; m++)
      for (long i = 0; i < n; i++)
        if (child[i] >= 0) masses[m * n + i] = total[child[i] * C + m];
  };
  for (long b = density.blocks.size() - 1; b >= 0; b--) {
    Block<C>& block = density.blocks[b];
    take(block.child, B, block.masses[0]);
    for (long m = 0; m < density.M; m++)
      total[b * C + m] = log_sum(block.masses[m], B);
  }
  take(density.child.data(), N, density.masses());
}

template <long C>
static void sample_one(Density<C>& density, const T* a, const double* uniform,
                       double temperature, double share, double* direction) {
  density.cut(a, temperature, share, true);
  add_up(density);
  auto merged = [&](T* masses, long n) {
    for (long i = 0; density.M > 1 && i < n; i++) {
      T each[C];
      for (long m = 0; m < C; m++) each[m] = masses[m * n + i];
      masses[i] = log_sum(each, C);
    }
    return masses;
  };
  double first = uniform[0], second = uniform[1];
  const long place = drawn(merged(density.masses(), N), N, first);
  Cell cell = density.tables.cells[place];
  for (long b = density.child[place]; b >= 0;) {
    Block<C>& block = density.blocks[b];
    const long part = drawn(merged(block.masses[0], B), B, second);
    cell = block.parts.cells[part];
    b = block.child[part];
  }
  const Parts<LAST> parts(cell);
  T logits[C][LAST * LAST], masses[C][LAST * LAST];
  for (long c = 0; c < C; c++)
    combine<LAST * LAST, C>(a + c, parts.harmonics[0], logits[c]);
  density.temper(logits[0], LAST * LAST, parts.log_areas, masses[0]);
  const long part = drawn(merged(masses[0], LAST * LAST), LAST * LAST, second);
  cell = parts.cells[part];
  const double top = std::pow(std::sin(0.5 * cell.theta), 2);
  const double bottom = std::pow(std::sin(0.5 * (cell.theta + cell.height)), 2);
  const double down = top + uniform[2] * (bottom - top);
  const double radius = 2 * std::sqrt(std::max(down * (1 - down), 0.0));
  const double phi = cell.phi + uniform[3] * cell.width;
  direction[0] = radius * std::cos(phi);
  direction[1] = radius * std::sin(phi);
  direction[2] = 1 - 2 * down;
}

extern "C" void integrate(const T* harmonics, const T* south, const T* east,
                          const T* log_areas, const T* bends, const T* changes,
                          const Cell* cells, const T* a, const double* share, T* log_z,
                          T* gradient, long n, long threads) {
  constexpr long C = CHANNELS;
  const Tables tables{harmonics, south, east, log_areas, bends, changes, cells};
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Density<C> density(tables);
#pragma omp for schedule(dynamic)
    for (long i = 0; i < n; i++) {
      T sum = 0;
      for (long k = 0; k < K * C; k++) sum += a[i * K * C + k];
      if (std::isnan(sum))
        log_z[i] = sum;
      else
        integrate_one<C>(density, a + i * K * C, *share, log_z + i,
                         gradient ? gradient + i * K * C : nullptr);
    }
  }
}

// settings: temperature, shares for a term and for a cell; uniform (n, 4)
extern "C" void sample(const T* harmonics, const T* south, const T* east,
                       const T* log_areas, const T* bends, const T* changes,
                       const Cell* cells, const T* a, const double* uniform,
                       const double* settings, double* directions, long by_term,
                       long n, long threads) {
  constexpr long C = CHANNELS;
  const Tables tables{harmonics, south, east, log_areas, bends, changes, cells};
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Density<C> all(tables);
    Density<1> one(tables);
#pragma omp for schedule(dynamic)
    for (long i = 0; i < n; i++) {
      const T* own = a + i * K * C;
      double u[4];
      std::copy(uniform + 4 * i, uniform + 4 * i + 4, u);
      if (!by_term) {
        sample_one(all, own, u, settings[0], settings[2], directions + 3 * i);
        continue;
      }
      all.cut(own, 1, settings[1], false);
      add_up(all);
      T shares[C], term[K];
      for (long c = 0; c < C; c++) shares[c] = log_sum(all.masses() + c * N, N);
      const long chosen = drawn(shares, C, u[0]);
      for (long k = 0; k < K; k++) term[k] = own[k * C + chosen];
      sample_one(one, term, u, settings[0], settings[2], directions + 3 * i);
    }
  }
}
"""


class SphereLoops(NamedTuple):
    """Compiled loops for densities of a number of channels, and what they read.

    Attributes
    ----------
    library
        See `load_library`.
    tables : tuple of Tensor
        Of the whole cells, see `_tables`.
    """

    library: ctypes.CDLL
    tables: tuple[Tensor, ...]

    def integrate(
        self, coefficients: Tensor, share: float, learning: bool
    ) -> tuple[Tensor, Tensor]:
        """Return log integrals (n,) and, when learning, their gradients, else zeros.

        Parameters
        ----------
        coefficients : (n, sum 2l+1, channels)
            One density each.
        share
            See `SphereCells.cut`.
        learning
            Whether gradients are wanted.
        """
        coefficients = coefficients.contiguous()
        n = len(coefficients)
        log_z, gradient = coefficients.new_empty(n), torch.zeros_like(coefficients)
        shares = torch.tensor([share], dtype=torch.float64)
        arrays = coefficients, shares, log_z, gradient if learning else None
        invoke(self.library, "integrate", *self.tables, *arrays, n, _threads(n))
        return log_z, gradient

    def sample(
        self,
        coefficients: Tensor,
        uniform: Tensor,
        temperature: float,
        shares: tuple[float, float],
        by_term: bool,
    ) -> Tensor:
        """Return directions (n, 3), see `SphereSampler.sample`.

        Parameters
        ----------
        coefficients, uniform, temperature, by_term
            See there.
        shares
            That cells may have to be left whole, for drawing a term and a cell.
        """
        n = len(coefficients)
        settings = torch.tensor([temperature, *shares], dtype=torch.float64)
        directions = uniform.new_empty(n, 3)
        arrays = coefficients.contiguous(), uniform.contiguous(), settings, directions
        counts = int(by_term), n, _threads(n)
        invoke(self.library, "sample", *self.tables, *arrays, *counts)
        return directions


def compiled_sphere(cells: SphereCells, coefficients: Tensor) -> SphereLoops | None:
    """Return loops for densities on a CPU; None where nothing can be compiled."""
    wanted = cells.harmonics.backend in ("auto", "cpp")
    on_cpu = coefficients.device.type == "cpu"
    if not (wanted and on_cpu) or coefficients.dtype not in CTYPES:
        return None
    return _loops(cells, coefficients.shape[2], coefficients.dtype)


@functools.lru_cache(maxsize=64)
def _loops(cells: SphereCells, channels: int, dtype: torch.dtype) -> SphereLoops | None:
    tables = _tables(cells, dtype)
    source = cells_source(cells, channels, CTYPES[dtype], tables[0].shape[1])
    library = load_library(source + INTEGRALS)
    return library and SphereLoops(library, tables)


def _tables(cells: SphereCells, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return tables of the whole cells, and as many empty ones as fill the last lanes.

    Returns
    -------
    harmonics, south, east : (sum 2l+1, n)
        See `SphereCells`.
    log_areas : (n,)
    bends : (sum 2l+1,)
    changes : (PARTS^2, 3 PARTS^2)
    cells : (n, 2, 2)
        In double precision.
    """
    own = cells.tables(torch.empty(0, dtype=dtype))
    pad = 0, -len(own.cells) % LANES
    rows = (own.harmonics, *own.slopes)
    return (
        *(torch.nn.functional.pad(x.T, pad).contiguous() for x in rows),
        torch.nn.functional.pad(own.log_areas, pad, value=-math.inf),
        own.bends,
        own.changes,
        torch.nn.functional.pad(own.cells, (0, 0, 0, 0, *pad)).contiguous(),
    )


def _threads(n: int) -> int:
    return max(1, min(torch.get_num_threads(), n))
