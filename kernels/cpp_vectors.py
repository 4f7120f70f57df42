"""C++ that generated loops share: vectors of channels, and products with matrices."""

from __future__ import annotations

import torch

__all__ = ["CTYPES", "vector_source", "vector_width"]

CTYPES = {torch.float32: "float", torch.float64: "double"}

SOURCE = """\
#include <algorithm>
#include <cmath>
#include <cstring>
typedef {ctype} T;
constexpr int REGISTER = std::max(16, __BIGGEST_ALIGNMENT__) / sizeof(T), TILE = 4;
constexpr int W = std::min({width}, REGISTER);  // longer vectors live in memory
typedef T V __attribute__((vector_size(W * sizeof(T))));
typedef V {ctype}_v;
typedef V U __attribute__((aligned(sizeof(T))));  // a vector anywhere in memory
static inline U& at(T* p) {{ return *(U*)p; }}
static inline const U& at(const T* p) {{ return *(const U*)p; }}

static inline T total(V v) {{
  T t[W], sum = 0;
  std::memcpy(t, &v, sizeof(t));
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < W; i++) sum += t[i];
  return sum;
}}

// vectors side by side in registers, for rows of n numbers
constexpr int vectors(int n) {{ return n / W % 4 == 0 ? 4 : n / W % 2 == 0 ? 2 : 1; }}

// rows x m (+)= to: n nodes of M rows each, from K to F numbers a row; the nodes begin
// `x_pitch` and `to_pitch` numbers apart
template <int M, int K, int F>
static void multiply(int n, const T* x, long x_pitch, const T* m, T* to, long to_pitch,
                     bool add) {{
  constexpr int VECTORS = vectors(F);
  for (int f = 0; f < F; f += VECTORS * W)
    for (int i = 0; i < n * M; i += TILE) {{
      const T* from[TILE];
      T* into[TILE];
      V sum[TILE][VECTORS];
      for (int a = 0; a < TILE; a++) {{  // a last tile repeats the last row
        const int row = std::min(i + a, n * M - 1);
        from[a] = x + row / M * x_pitch + row % M * K;
        into[a] = to + row / M * to_pitch + row % M * F + f;
        for (int b = 0; b < VECTORS; b++) sum[a][b] = add ? at(into[a] + b * W) : V{{}};
      }}
      for (int k = 0; k < K; k++)
        for (int a = 0; a < TILE; a++)
          for (int b = 0; b < VECTORS; b++)
            sum[a][b] += from[a][k] * at(m + k * F + f + b * W);
      for (int a = 0; a < TILE; a++)
        for (int b = 0; b < VECTORS; b++) at(into[a] + b * W) = sum[a][b];
    }}
}}
"""


def vector_width(channels: int, ctype: str) -> int:
    """Channels in a vector at most: as many as fit into 64 bytes, that divide them."""
    widest = 16 if ctype == "float" else 8
    return next(w for w in (16, 8, 4, 2, 1) if w <= widest and channels % w == 0)


def vector_source(channels: int, ctype: str) -> str:
    """Write the beginning of a translation unit for rows of multiples of `channels`."""
    return SOURCE.format(ctype=ctype, width=vector_width(channels, ctype))
