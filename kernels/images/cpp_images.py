"""C++ that lists pairs of atoms of a molecule and of images, and adds up over them."""

from __future__ import annotations

__all__ = ["PAIRS", "SUMS"]

PAIRS = """\
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

SUMS = """\
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
