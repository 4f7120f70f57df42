"""Spherical harmonics in generated C++: tiles of 16 vectors, one lane for each.

The rows of a tile are transposed in registers on the way in and out, so that the
formulas run on contiguous lanes; the rows of the next tile are asked for meanwhile.
Tiles are shared among torch's threads by OpenMP.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from equicalc.kernels.cpp import invoke, load_library
from equicalc.kernels.cpp_vectors import CTYPES
from equicalc.kernels.emit import cpp_statements

from .harmonics import Formula, Harmonics

__all__ = ["available", "run"]

ROWS_PER_THREAD = 1024

PRELUDE = """\
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

using T = CTYPE;
constexpr int W = 16;  // vectors in a tile
typedef T quad __attribute__((vector_size(4 * sizeof(T))));
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef decltype(quad{} < quad{}) mask;
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, mask{__VA_ARGS__})
#endif

// columns of a 4 x 4 block of `from` -> rows of `to`
static inline void transpose(const T* from, int from_stride, T* to, int to_stride) {
  quad r[4], s[4];
  for (int i = 0; i < 4; i++) std::memcpy(&r[i], from + i * from_stride, sizeof(quad));
  s[0] = SHUFFLE(r[0], r[2], 0, 4, 1, 5);
  s[1] = SHUFFLE(r[0], r[2], 2, 6, 3, 7);
  s[2] = SHUFFLE(r[1], r[3], 0, 4, 1, 5);
  s[3] = SHUFFLE(r[1], r[3], 2, 6, 3, 7);
  r[0] = SHUFFLE(s[0], s[2], 0, 4, 1, 5);
  r[1] = SHUFFLE(s[0], s[2], 2, 6, 3, 7);
  r[2] = SHUFFLE(s[1], s[3], 0, 4, 1, 5);
  r[3] = SHUFFLE(s[1], s[3], 2, 6, 3, 7);
  for (int i = 0; i < 4; i++) std::memcpy(to + i * to_stride, &r[i], sizeof(quad));
}

// ask for a line of 16 numbers of the tile after the one at `first`, for each of its
// 4 x 4 blocks
template <int D, int FOR_WRITING>
static inline void prefetch(const T* array, int64_t first, int i, int j) {
  const int block = i / 4 * (D / 4) + j / 4;
  __builtin_prefetch(array + (first + W) * D + block * 16, FOR_WRITING);
}

template <int D>
static inline void load(const T* array, int64_t first, int n, T tile[D][W]) {
  const T* rows = array + first * D;
  T padded[W * D];
  if (n < W) {
    std::fill(std::copy(rows, rows + n * D, padded), padded + W * D, T(0));
    rows = padded;
  }
  for (int i = 0; i < W; i += 4)
    for (int j = 0; j + 4 <= D; j += 4) {
      prefetch<D, 0>(array, first, i, j);
      transpose(rows + i * D + j, D, &tile[j][i], W);
    }
  for (int j = D / 4 * 4; j < D; j++)
    for (int i = 0; i < W; i++) tile[j][i] = rows[i * D + j];
}

template <int D>
static inline void store(const T tile[D][W], T* array, int64_t first, int n) {
  T* rows = array + first * D;
  T padded[W * D];
  T* to = n < W ? padded : rows;
  for (int i = 0; i < W; i += 4)
    for (int j = 0; j + 4 <= D; j += 4) {
      prefetch<D, 1>(array, first, i, j);
      transpose(&tile[j][i], W, to + i * D + j, D);
    }
  for (int j = D / 4 * 4; j < D; j++)
    for (int i = 0; i < W; i++) to[i * D + j] = tile[j][i];
  if (n < W) std::copy(padded, padded + n * D, rows);
}
"""


def available(harmonics: Harmonics, dtype: torch.dtype) -> bool:
    """Whether the kernels could be compiled, or were before."""
    return _library(harmonics, dtype) is not None


def run(
    harmonics: Harmonics,
    name: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> None:
    """Compute a pass, see `torch_kernels.run`."""
    library = _library(harmonics, inputs[0].dtype)
    if library is None:
        raise RuntimeError(
            "backend='cpp' was asked for, but no C++ compiler works here; install g++ "
            "or clang++, set CXX, or use backend='auto'"
        )
    n = len(inputs[0])
    threads = max(1, min(torch.get_num_threads(), n // ROWS_PER_THREAD))
    invoke(library, name, *inputs, *outputs, n, threads)


@functools.cache
def _library(harmonics: Harmonics, dtype: torch.dtype) -> ctypes.CDLL | None:
    return load_library(source(harmonics, CTYPES[dtype]))


def source(harmonics: Harmonics, ctype: str) -> str:
    """Return the translation unit with the three passes."""
    formulas = harmonics.formulas.items()
    functions = [_function(name, formula, ctype) for name, formula in formulas]
    return "\n".join([PRELUDE.replace("CTYPE", ctype), *functions])


def _function(name: str, formula: Formula, ctype: str) -> str:
    inputs, outputs = formula
    graph = outputs[0][0].graph
    statements, results = cpp_statements(graph, list(chain(*outputs)), ctype)
    ins = [(f"in{k}", len(names)) for k, names in enumerate(inputs)]
    outs = [(f"out{k}", len(exprs)) for k, exprs in enumerate(outputs)]
    arguments = [f"const T* __restrict__ {a}" for a, _ in ins]
    arguments += [f"T* __restrict__ {a}" for a, _ in outs]
    tiles = [f"{a}_tile[{width}][W]" for a, width in ins + outs]
    reads = [
        f"const T {column} = in{k}_tile[{j}][i];"
        for k, names in enumerate(inputs)
        for j, column in enumerate(names)
    ]
    targets = [f"{a}_tile[{j}][i]" for a, width in outs for j in range(width)]
    writes = [f"{t} = {value};" for t, value in zip(targets, results, strict=True)]
    return f"""
extern "C" void {name}({", ".join(arguments)}, long n_rows, long threads) {{
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t first = 0; first < n_rows; first += W) {{
    const int n = std::min<int64_t>(W, n_rows - first);
    alignas(64) T {", ".join(tiles)};
    {_lines(f"load<{width}>({a}, first, n, {a}_tile);" for a, width in ins)}
#pragma omp simd
    for (int i = 0; i < W; i++) {{
      {_lines([*reads, *statements, *writes])}
    }}
    {_lines(f"store<{width}>({a}_tile, {a}, first, n);" for a, width in outs)}
  }}
}}"""


_lines = "\n      ".join
