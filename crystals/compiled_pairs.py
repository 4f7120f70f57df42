"""Pairs of atoms around a molecule, found by compiled loops."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equicalc.kernels.cpp import invoke, load_library

__all__ = ["compiled_pairs"]

SOURCE = """\
#include <cmath>
#include <vector>

struct Point { double x, y, z; };
static Point operator-(Point a, Point b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
static Point operator+(Point a, Point b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
static double squared(Point a) { return a.x * a.x + a.y * a.y + a.z * a.z; }
static Point cross(Point a, Point b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
static double dot(Point a, Point b) { return a.x * b.x + a.y * b.y + a.z * b.z; }

// pairs of an atom of the center and one of an image; counts beyond the capacity too
extern "C" void pairs_around(const Point* pos, const Point* cell, const double* cutoff,
                             long* count, long* atoms, long* molecules, long* others,
                             Point* vectors, long n_molecules, long size, long center,
                             long capacity) {
  std::vector<Point> centroids(n_molecules);
  std::vector<double> radii(n_molecules);
  double largest = 0;
  for (long m = 0; m < n_molecules; m++) {
    Point sum{0, 0, 0};
    for (long i = 0; i < size; i++) sum = sum + pos[m * size + i];
    centroids[m] = {sum.x / size, sum.y / size, sum.z / size};
    double most = 0;
    for (long i = 0; i < size; i++)
      most = std::fmax(most, squared(pos[m * size + i] - centroids[m]));
    radii[m] = std::sqrt(most);
    largest = std::fmax(largest, radii[m]);
  }
  const Point middle = centroids[center], *own = pos + center * size;
  const double reach = *cutoff, near = reach + radii[center];
  Point normals[3];
  const double volume = dot(cell[0], cross(cell[1], cell[2]));
  for (int k = 0; k < 3; k++) {
    const Point n = cross(cell[(k + 1) % 3], cell[(k + 2) % 3]);
    normals[k] = {n.x / volume, n.y / volume, n.z / volume};
  }
  long found = 0;
  for (long m = 0; m < n_molecules; m++) {
    const Point apart = centroids[m] - middle;
    const double far = near + radii[m];
    long low[3], high[3];
    for (int k = 0; k < 3; k++) {
      const double at = dot(apart, normals[k]);
      const double within = far * std::sqrt(squared(normals[k]));
      low[k] = (long)std::ceil(-within - at);
      high[k] = (long)std::floor(within - at);
    }
    for (long a = low[0]; a <= high[0]; a++)
      for (long b = low[1]; b <= high[1]; b++)
        for (long c = low[2]; c <= high[2]; c++) {
          if (m == center && !a && !b && !c) continue;
          const Point shift{a * cell[0].x + b * cell[1].x + c * cell[2].x,
                            a * cell[0].y + b * cell[1].y + c * cell[2].y,
                            a * cell[0].z + b * cell[1].z + c * cell[2].z};
          if (squared(apart + shift) >= far * far) continue;
          for (long j = 0; j < size; j++) {
            const Point other = pos[m * size + j] + shift;
            if (squared(other - middle) >= near * near) continue;
            for (long i = 0; i < size; i++) {
              const Point v = other - own[i];
              if (squared(v) >= reach * reach) continue;
              if (found < capacity) {
                atoms[found] = i;
                molecules[found] = m;
                others[found] = j;
                vectors[found] = v;
              }
              found++;
            }
          }
        }
  }
  *count = found;
}
"""

ROOM = 1.5  # pairs for which there is room, over those of an even density


def compiled_pairs(
    positions: Tensor, cell: Tensor, center: int, cutoff: float
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Do what `pairs_around` does, with tensors.

    The order of the pairs may differ. None where nothing can be compiled.
    """
    library = load_library(SOURCE)
    if library is None:
        return None
    positions, cell = positions.double().contiguous(), cell.double().contiguous()
    n_molecules, size, _ = positions.shape
    density = n_molecules * size / _volume(cell)
    sphere = 4 / 3 * math.pi * cutoff**3
    capacity = int(ROOM * size * density * sphere) + size
    count = torch.zeros(1, dtype=torch.int64)
    reach = torch.tensor([cutoff], dtype=torch.float64)
    while True:
        rows = torch.empty(3, capacity, dtype=torch.int64)
        vectors = torch.empty(capacity, 3, dtype=torch.float64)
        numbers = (n_molecules, size, int(center), capacity)
        arrays = (positions, cell, reach, count, *rows, vectors)
        invoke(library, "pairs_around", *arrays, *numbers)
        n = int(count)
        if n <= capacity:
            atoms, molecules, others = rows[:, :n]
            return atoms, molecules, others, vectors[:n]
        capacity = n


def _volume(cell: Tensor) -> float:
    """Of a cell; faster than a determinant of torch."""
    (a, b, c), (d, e, f), (g, h, i) = cell.tolist()
    return abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
