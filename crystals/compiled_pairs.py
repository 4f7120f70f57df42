"""Pairs of atoms around molecules, found by compiled loops."""

from __future__ import annotations

import ctypes
import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from equicalc.kernels.cpp import invoke, load_library
from equicalc.kernels.cpp_vectors import CTYPES

__all__ = ["Centers", "PairsOfSites", "compiled_pairs"]

SOURCE = """\
#include <cmath>
#include <vector>

typedef {ctype} T;
struct Point {{ double x, y, z; }};
static Point operator-(Point a, Point b) {{
  return {{a.x - b.x, a.y - b.y, a.z - b.z}};
}}
static Point operator+(Point a, Point b) {{
  return {{a.x + b.x, a.y + b.y, a.z + b.z}};
}}
static double squared(Point a) {{ return a.x * a.x + a.y * a.y + a.z * a.z; }}
static Point cross(Point a, Point b) {{
  return {{a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}};
}}
static double dot(Point a, Point b) {{ return a.x * b.x + a.y * b.y + a.z * b.z; }}

struct Crystal {{ long molecules, size, first_molecule, first_atom; }};
struct Center {{ long crystal, molecule, site; }};
struct Found {{ long *dst, *src, *image; T* vectors; long capacity, n; }};

static void around(const Crystal& crystal, const Point* pos, const Point* cell,
                   const Center& at, const long* origins, double reach, Found& found) {{
  const long size = crystal.size;
  std::vector<Point> centroids(crystal.molecules);
  std::vector<double> radii(crystal.molecules);
  for (long m = 0; m < crystal.molecules; m++) {{
    Point sum{{0, 0, 0}};
    for (long i = 0; i < size; i++) sum = sum + pos[m * size + i];
    centroids[m] = {{sum.x / size, sum.y / size, sum.z / size}};
    double most = 0;
    for (long i = 0; i < size; i++)
      most = std::fmax(most, squared(pos[m * size + i] - centroids[m]));
    radii[m] = std::sqrt(most);
  }}
  const Point middle = centroids[at.molecule];
  const double near = reach + radii[at.molecule];
  std::vector<double> x(size), y(size), z(size), apart2(size);
  std::vector<long> which(size);
  for (long i = 0; i < size; i++) {{
    const Point own = pos[at.molecule * size + i];
    x[i] = own.x, y[i] = own.y, z[i] = own.z;
  }}
  Point normals[3];
  const double volume = dot(cell[0], cross(cell[1], cell[2]));
  for (int k = 0; k < 3; k++) {{
    const Point n = cross(cell[(k + 1) % 3], cell[(k + 2) % 3]);
    normals[k] = {{n.x / volume, n.y / volume, n.z / volume}};
  }}
  for (long m = 0; m < crystal.molecules; m++) {{
    const Point apart = centroids[m] - middle;
    const double far = near + radii[m];
    long low[3], high[3];
    for (int k = 0; k < 3; k++) {{
      const double middle_of = dot(apart, normals[k]);
      const double within = far * std::sqrt(squared(normals[k]));
      low[k] = (long)std::ceil(-within - middle_of);
      high[k] = (long)std::floor(within - middle_of);
    }}
    for (long a = low[0]; a <= high[0]; a++)
      for (long b = low[1]; b <= high[1]; b++)
        for (long c = low[2]; c <= high[2]; c++) {{
          if (m == at.molecule && !a && !b && !c) continue;
          const Point shift{{a * cell[0].x + b * cell[1].x + c * cell[2].x,
                             a * cell[0].y + b * cell[1].y + c * cell[2].y,
                             a * cell[0].z + b * cell[1].z + c * cell[2].z}};
          if (squared(apart + shift) >= far * far) continue;
          for (long j = 0; j < size; j++) {{
            const Point other = pos[m * size + j] + shift;
            if (squared(other - middle) >= near * near) continue;
            for (long i = 0; i < size; i++)
              apart2[i] = squared(other - Point{{x[i], y[i], z[i]}});
            long n = 0;
            for (long i = 0; i < size; i++) {{  // without jumps
              which[n] = i;
              n += apart2[i] < reach * reach;
            }}
            if (found.n + n <= found.capacity)
              for (long k = 0; k < n; k++) {{
                const long i = which[k], to = found.n + k;
                found.dst[to] = at.site + i;
                found.src[to] = origins[m] + j;
                found.image[to] = crystal.first_molecule + m;
                found.vectors[3 * to] = other.x - x[i];
                found.vectors[3 * to + 1] = other.y - y[i];
                found.vectors[3 * to + 2] = other.z - z[i];
              }}
            found.n += n;
          }}
        }}
  }}
}}

// pairs of an atom of each center and one of an image; counts beyond the capacity too
extern "C" void pairs_around(const Point* pos, const Point* cells,
                             const Crystal* crystals, const Center* centers,
                             const long* origins, const double* reach, long* count,
                             long* dst, long* src, long* image, T* vectors,
                             long n_centers, long capacity) {{
  Found found{{dst, src, image, vectors, capacity, 0}};
  for (long n = 0; n < n_centers; n++) {{
    const Crystal& own = crystals[centers[n].crystal];
    around(own, pos + own.first_atom, cells + 3 * centers[n].crystal, centers[n],
           origins + own.first_molecule, *reach, found);
  }}
  *count = found.n;
}}
"""

ROOM = 1.5  # pairs for which there is room, over those of an even density


class Centers(NamedTuple):
    """Molecules of some crystals whose surroundings are wanted.

    Attributes
    ----------
    positions : (n_atoms, 3), Angstrom
        Of the molecules of all cells, one after the other.
    cells : (n_crystals, 3, 3), Angstrom
        Rows are lattice vectors.
    crystals : (n_crystals, 4)
        How many molecules a cell has, atoms of each, the first molecule and the first
        atom.
    centers : (n_centers, 3)
        Crystal, which of its molecules, and the number of the first atom among all
        sites.
    origins : (n_molecules,)
        Site of the first atom of the molecule that each is an image of.
    """

    positions: Tensor
    cells: Tensor
    crystals: Tensor
    centers: Tensor
    origins: Tensor


class PairsOfSites(NamedTuple):
    """Pairs of an atom of a center and one of the molecules around it.

    Attributes
    ----------
    dst, src : (n_pairs,)
        Site of the center's atom, and that of the original of the other.
    image : (n_pairs,)
        The other molecule, among those of all cells.
    vectors : (n_pairs, 3), Angstrom
        From the first atom to the second.
    """

    dst: Tensor
    src: Tensor
    image: Tensor
    vectors: Tensor


def compiled_pairs(
    around: Centers, cutoff: float, dtype: torch.dtype
) -> PairsOfSites | None:
    """List the pairs nearer than a cutoff (Angstrom); vectors have the given precision.

    None where nothing can be compiled.
    """
    library = _library(dtype)
    if library is None:
        return None
    capacity = _capacity(around, cutoff)
    count = torch.zeros(1, dtype=torch.int64)
    reach = torch.tensor([cutoff], dtype=torch.float64)
    while True:
        rows = torch.empty(3, capacity, dtype=torch.int64)
        vectors = torch.empty(capacity, 3, dtype=dtype)
        arrays = (*around, reach, count, *rows, vectors)
        invoke(library, "pairs_around", *arrays, len(around.centers), capacity)
        n = int(count)
        if n <= capacity:
            dst, src, image = rows[:, :n]
            return PairsOfSites(dst, src, image, vectors[:n])
        capacity = n


def _capacity(around: Centers, cutoff: float) -> int:
    """Pairs of an even density, and more."""
    of = around.centers[:, 0].numpy()
    molecules, size = around.crystals.numpy()[of, :2].T
    volumes = np.abs(np.linalg.det(around.cells.numpy()))
    even = float((size * molecules * size / volumes[of]).sum())
    return int(ROOM * even * 4 / 3 * math.pi * cutoff**3) + int(size.sum())


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Compile the loops; None if impossible."""
    if dtype not in CTYPES:
        return None
    return load_library(SOURCE.format(ctype=CTYPES[dtype]))
