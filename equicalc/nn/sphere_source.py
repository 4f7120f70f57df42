"""C++ of the cells of densities on the sphere, as `SphereCells.cut` makes them."""

from __future__ import annotations

from equicalc.kernels.emit import cpp_statements
from equicalc.kernels.spherical_harmonics.harmonics import Harmonics
from equicalc.nn.sphere_cells import PARTS, SMOOTH, WHOLE, SphereCells, intervals

__all__ = ["LANES", "LAST", "cells_source"]

#: Parts that the last cell is cut into along each of its two directions, for drawing.
LAST = 8
#: Numbers that loops treat at once; their rows are multiples.
LANES = 16

HEADER = """\
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

typedef {ctype} T;
typedef {integer} Bits;
constexpr long K = {dim}, N = {n_whole}, P = {parts}, B = P * P, LAST = {last};
constexpr long LANES = {lanes}, CHANNELS = {channels};
constexpr int DEPTH = {depth};
constexpr double WIDTH = {width}, SMOOTH[2] = {{{smooth}}}, WHOLE = {whole};
constexpr T NONE = -INFINITY;
constexpr double BEGIN[] = {{{begin}}}, SHARE[] = {{{share}}}, PLACE[] = {{{place}}};

template <long n>
static void harmonics_of(const T p[3][n * n], T Y[K][n * n]) {{
#pragma omp simd
  for (long i = 0; i < n * n; i++) {{
    const T x = p[0][i], y = p[1][i], z = p[2][i];
    {formula}
  }}
}}
"""

CELLS = """\
// exp, to be vectorised: 2^n by the bits of a number that is n beyond one of them
static inline T expo(T x) {
  constexpr T shift = sizeof(T) == 4 ? 12582912.0 : 6755399441055744.0;
  constexpr T ln2[2] = {sizeof(T) == 4 ? 0.693359375 : 6.93147180369123816490e-01,
                        sizeof(T) == 4 ? -2.12194440e-4 : 1.90821492927058770002e-10};
  constexpr int mantissa = sizeof(T) == 4 ? 23 : 52, bias = sizeof(T) == 4 ? 127 : 1023;
  constexpr int terms = sizeof(T) == 4 ? 7 : 13;
  x = x > T(sizeof(T) == 4 ? -87 : -708) ? x : T(sizeof(T) == 4 ? -87 : -708);
  const T shifted = x * T(1.4426950408889634) + shift, n = shifted - shift;
  const T r = (x - n * ln2[0]) - n * ln2[1];
  T sum = 1;
  for (int k = terms; k > 0; k--) sum = sum * (r * (T(1) / k)) + 1;
  Bits bits;
  std::memcpy(&bits, &shifted, sizeof(T));
  bits = (bits + bias) << mantissa;
  T power;
  std::memcpy(&power, &bits, sizeof(T));
  return sum * power;
}

static T most_of(const T* x, long n) {
  T most = NONE;
#pragma omp simd reduction(max : most)
  for (long i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
  return most;
}
static T sum_of_exp(const T* x, long n, T most) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (long i = 0; i < n; i++) sum += expo(x[i] - most);
  return sum;
}
static T log_sum(const T* x, long n) {
  const T most = most_of(x, n);
  return most > NONE ? most + std::log(sum_of_exp(x, n, most)) : NONE;
}

// to = sum of a_k rows[k], of one channel of K x C coefficients
template <long n, long C>
static void combine(const T* a, const T* rows, T* to) {
  for (long i = 0; i < n; i += LANES) {
    T sum[LANES] = {};
    for (long k = 0; k < K; k++) {
      const T factor = a[k * C];
      const T* row = rows + k * n + i;
#pragma omp simd
      for (long j = 0; j < LANES; j++) sum[j] += factor * row[j];
    }
    std::copy(sum, sum + LANES, to + i);
  }
}

struct Cell { double theta, height, phi, width; };

struct Tables {
  const T *harmonics, *south, *east;  // K x N
  const T *log_areas, *bends, *changes;
  const Cell* cells;
};

// n x n parts of a cell; n is P or LAST, whose intervals are listed after those of P
template <long n> struct Parts {
  Cell cells[n * n];
  T harmonics[K][n * n], log_areas[n * n];

  explicit Parts(const Cell& whole) {
    const double* begin = BEGIN + (n == P ? 0 : P);
    const double* share = SHARE + (n == P ? 0 : P);
    const double* place = PLACE + (n == P ? 0 : P);
    double sine[2][n], cosine[2][n], log_length[2][n];
    for (long i = 0; i < n; i++) {
      const double theta = whole.theta + place[i] * whole.height;
      const double phi = whole.phi + place[i] * whole.width;
      sine[0][i] = std::sin(theta), cosine[0][i] = std::cos(theta);
      sine[1][i] = std::sin(phi), cosine[1][i] = std::cos(phi);
      log_length[0][i] = std::log(sine[0][i] * share[i] * whole.height);
      log_length[1][i] = std::log(share[i] * whole.width);
    }
    T points[3][n * n];
    for (long i = 0; i < n; i++)
      for (long j = 0; j < n; j++) {
        const long at = i * n + j;
        cells[at] = {whole.theta + begin[i] * whole.height, share[i] * whole.height,
                     whole.phi + begin[j] * whole.width, share[j] * whole.width};
        points[0][at] = sine[0][i] * cosine[1][j];
        points[1][at] = sine[0][i] * sine[1][j];
        points[2][at] = cosine[0][i];
        log_areas[at] = log_length[0][i] + log_length[1][j];
      }
    harmonics_of<n>(points, harmonics);
  }
};

template <long C> struct Block {
  Parts<P> parts;
  T logits[C][B], masses[C][B];
  long child[B];

  Block(const Cell& cell, const T* a) : parts(cell) {
    for (long c = 0; c < C; c++) combine<B, C>(a + c, parts.harmonics[0], logits[c]);
    std::fill(child, child + B, -1);
  }
};

// the cells of a density p, a sum of C exponentials, one density after the other;
// without a temperature of 1, of p^(1 / temperature), which is one
template <long C> struct Density {
  const Tables& tables;
  const T* a;
  double temperature;
  long M;
  std::vector<T> whole, high, slope, sums;  // whole: C x N logits, then as many masses
  std::vector<long> child;
  std::vector<Block<C>> blocks;

  explicit Density(const Tables& tables)
      : tables(tables), whole(2 * C * N), high(2 * C * N), slope(2 * N), child(N) {}

  T* masses() { return whole.data() + C * N; }

  // logits C x n to masses M x n
  void temper(const T* logits, long n, const T* log_areas, T* to) const {
    if (temperature == 1) {
      for (long c = 0; c < C; c++)
        for (long i = 0; i < n; i++) to[c * n + i] = logits[c * n + i] + log_areas[i];
      return;
    }
    for (long i = 0; i < n; i++) {
      T one = logits[i];
      if (C > 1) {
        T each[C];
        for (long c = 0; c < C; c++) each[c] = logits[c * n + i];
        one = log_sum(each, C);
      }
      to[i] = one / temperature + log_areas[i];
    }
  }

  void cut(const T* coefficients, double at, double share, bool each) {
    a = coefficients, temperature = at, M = at == 1 ? C : 1;
    blocks.clear();
    std::fill(child.begin(), child.end(), -1);
    // 1. whole cells
    T* logits = whole.data();
    for (long c = 0; c < C; c++)
      combine<N, C>(a + c, tables.harmonics, logits + c * N);
    temper(logits, N, tables.log_areas, masses());
    double width = WIDTH;
    const double curvature = bent() / temperature;
    if (curvature * width * width <= SMOOTH[0] || DEPTH == 0) return;
    T most = log_sum(masses(), M * N);
    for (long c = 0; c < C; c++) {
      combine<N, C>(a + c, tables.south, slope.data());
      combine<N, C>(a + c, tables.east, slope.data() + N);
      for (long i = 0; i < N; i++) {
        const T s = slope[i], e = slope[N + i];
        const T rise = std::sqrt(s * s + e * e) * T(WIDTH / M_SQRT2);
        high[c * N + i] = logits[c * N + i] + (std::isfinite(rise) ? rise : 0);
      }
    }
    const T* bound = high.data() + C * N;
    temper(high.data(), N, tables.log_areas, high.data() + C * N);
    T least = most + T(std::log(WHOLE * share));
    for (long i = 0; i < N; i++)
      if (reaches(bound, N, i, least)) child[i] = add(tables.cells[i]);
    // 2. their parts
    long first = 0;
    for (int level = 1; first < (long)blocks.size(); level++) {
      const long end = blocks.size();
      width /= P;
      const bool sharp = curvature * width * width > SMOOTH[1] && level < DEPTH;
      sums.clear();
      for (long b = first; b < end; b++) {
        Block<C>& block = blocks[b];
        temper(block.logits[0], B, block.parts.log_areas, block.masses[0]);
        sums.push_back(log_sum(block.masses[0], M * B));
      }
      if (!sharp && !each) return;
      most = std::max(most, log_sum(sums.data(), sums.size()));
      least = most + T(std::log(share));
      for (long b = first; b < end; b++) {
        T rises[C][B], others[C][B], log_areas[B], bounds[C][B];
        change(blocks[b], rises, others);
        own_areas(blocks[b].parts, log_areas);
        temper(others[0], B, log_areas, blocks[b].masses[0]);
        if (!sharp) continue;
        temper(rises[0], B, blocks[b].parts.log_areas, bounds[0]);
        for (long i = 0; i < B; i++)
          if (reaches(bounds[0], B, i, least)) {
            const long added = add(blocks[b].parts.cells[i]);
            blocks[b].child[i] = added;
          }
      }
      first = end;
    }
  }

  // the largest curvature that there may be
  double bent() const {
    double most = 0;
    for (long c = 0; c < C; c++) {
      double sum = 0;
      for (long k = 0; k < K; k++)
        if (tables.bends[k] > 0) sum += std::pow(a[k * C + c] * tables.bends[k], 2);
      most = std::max(most, sum);
    }
    return std::sqrt(most * K);
  }

  bool reaches(const T* bound, long n, long i, T least) const {
    for (long m = 0; m < M; m++)
      if (bound[m * n + i] > least) return true;
    return false;
  }

  long add(const Cell& cell) {
    blocks.emplace_back(cell, a);
    return blocks.size() - 1;
  }

  // logits at most within parts, and such that their exponential is the mean there
  void change(const Block<C>& block, T rises[C][B], T others[C][B]) const {
    const T three = 3 * temperature;
    for (long c = 0; c < C; c++) {
      T changed[3 * B] = {};
      if (block.logits[c][0] > NONE)
        for (long i = 0; i < B; i++) {
          const T factor = block.logits[c][i];
#pragma omp simd
          for (long j = 0; j < 3 * B; j++)
            changed[j] += factor * tables.changes[i * 3 * B + j];
        }
#pragma omp simd
      for (long i = 0; i < B; i++) {
        const T down = changed[i], across = changed[B + i], logit = block.logits[c][i];
        rises[c][i] = logit + std::fabs(down) + std::fabs(across);
        const T bend = changed[2 * B + i];
        others[c][i] = logit + bend + std::sqrt(down * down + three * three) +
                       std::sqrt(across * across + three * three) - 2 * three;
      }
    }
  }

  static void own_areas(const Parts<P>& parts, T* log_areas) {
    for (long i = 0; i < P; i++) {
      const double half = 0.5 * parts.cells[i * P].height;
      const double theta = parts.cells[i * P].theta + half;
      const double height = std::log(2 * std::sin(theta) * std::sin(half));
      for (long j = 0; j < P; j++)
        log_areas[i * P + j] = height + std::log(parts.cells[j].width);
    }
  }
};
"""


def cells_source(cells: SphereCells, channels: int, ctype: str, n_whole: int) -> str:
    """Write the beginning of a translation unit for densities of many channels.

    Parameters
    ----------
    cells
        Degrees, whole cells and depth.
    channels
        Exponentials that a density is the sum of.
    ctype
        ``"float"`` or ``"double"``.
    n_whole
        Whole cells, a multiple of `LANES`.
    """
    ls = tuple(ir.l for _, ir in cells.harmonics.irreps_out)
    harmonics = Harmonics(ls, True, "component")
    [exprs] = harmonics.formulas["forward"].outputs
    statements, values = cpp_statements(exprs[0].graph, exprs, ctype)
    writes = [f"Y[{k}][i] = {value};" for k, value in enumerate(values)]
    begin, share, place = (
        ", ".join(map(repr, [*some.tolist(), *others.tolist()]))
        for some, others in zip(intervals(PARTS), intervals(LAST))
    )
    header = HEADER.format(
        ctype=ctype,
        integer="int32_t" if ctype == "float" else "int64_t",
        dim=harmonics.dim,
        n_whole=n_whole,
        parts=PARTS,
        last=LAST,
        lanes=LANES,
        channels=channels,
        depth=cells.depth,
        width=repr(cells.width),
        smooth=", ".join(map(repr, SMOOTH)),
        whole=WHOLE,
        begin=begin,
        share=share,
        place=place,
        formula="\n    ".join([*statements, *writes]),
    )
    return header + CELLS
