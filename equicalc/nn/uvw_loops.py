"""The fully connected convolution and its gradients in compiled loops.

For one path after the other, at all nodes of a part: the coupled features z of a node's
edges, their sums A with the hidden features, and A times the path's matrix. None of it
leaves the processor's cache; the gradients make z and A again. Sizes, degrees and
couplings are arguments, so that a library serves all networks whose channels fill the
same vectors.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from equicalc.kernels.convolution import Adjacency
from equicalc.kernels.convolution.paths import Paths, coupling_tensor
from equicalc.kernels.cpp import invoke, load_library
from equicalc.kernels.cpp_vectors import CTYPES, vector_source

__all__ = ["Gradients", "convolve", "gradients", "library"]

LEAST_WIDTH, MOST_AT_ONCE = 4, 32  # channels; with fewer, torch is as fast
NODES_PER_PART = 32  # of the output
EDGES_PER_PART, MOST_PARTS = 256, 16  # of gradients; those for a matrix are added up

SOURCE = """\
#include <vector>
constexpr int SIDE = {channels} / W % 2 == 0 ? 2 : 1, ROWS = 12 / SIDE, COLUMNS = 8;
struct Table {{ const T* p; long row, column; }};

// to[r] += sum_k a[r][k] b[k] for R rows of `width` numbers, in registers
template <int R>
static void tile(int n, int width, Table a, const T* b, long b_row, T* to,
                 long to_row) {{
  for (int f = 0; f < width; f += SIDE * W) {{
    V sum[R][SIDE];
    for (int r = 0; r < R; r++)
      for (int s = 0; s < SIDE; s++) sum[r][s] = at(to + r * to_row + f + s * W);
    const T *x = a.p, *y = b + f;
    for (int k = 0; k < n; k++, x += a.column, y += b_row)
      for (int r = 0; r < R; r++)
        for (int s = 0; s < SIDE; s++) sum[r][s] += x[r * a.row] * at(y + s * W);
    for (int r = 0; r < R; r++)
      for (int s = 0; s < SIDE; s++) at(to + r * to_row + f + s * W) = sum[r][s];
  }}
}}
constexpr decltype(&tile<1>) TILES[] = {{{tiles}}};

// the same for any number of rows, in tiles that differ by one row at most
static void product(int rows, int n, int width, Table a, const T* b, long b_row, T* to,
                    long to_row) {{
  for (int left = (rows + ROWS - 1) / ROWS; left > 0; left--) {{
    const int now = (rows + left - 1) / left;
    TILES[now - 1](n, width, a, b, b_row, to, to_row);
    rows -= now, a.p += now * a.row, to += now * to_row;
  }}
}}

// to[r][k] += a[r] . b[k] for contiguous rows of n numbers
static void dots(int rows, int columns, int n, const T* a, const T* b, T* to) {{
  for (int r = 0; r < rows; r++)
    for (int k = 0; k < columns; k += COLUMNS) {{
      V sum[COLUMNS] = {{}};
      for (int f = 0; f < n; f += W)
        for (int c = 0; c < COLUMNS; c++)
          sum[c] += at(a + r * n + f) * at(b + std::min(k + c, columns - 1) * n + f);
      for (int c = 0; c < std::min(COLUMNS, columns - k); c++)
        to[r * columns + k + c] += total(sum[c]);
    }}
}}

// the output or, where its gradient g is given, gradients, that of x for every edge;
// y has a row for every component, mt the matrices of m transposed
extern "C" void uvw(const T* x, const T* y, const T* h, const T* m, const T* mt,
                    const T* g, T* out, T* gx, T* gh, T* gm, const long* paths,
                    const long* terms, const T* factors, const long* ptr,
                    const long* src, long n_paths, long n_in, long n_out, long widest,
                    long K, long CI, long CO, long n_edges, long longest, long n_nodes,
                    long n_parts, long n_threads) {{
#pragma omp parallel for schedule(dynamic) num_threads(n_threads)
  for (long part = 0; part < n_parts; part++) {{
    std::vector<T> b(widest * widest * longest), z(widest * CI * longest);
    std::vector<T> A(widest * CI * K), gz(g ? z.size() : 0), gA(g ? A.size() : 0);
    for (long q = 0; q < n_paths; q++) {{
      const long *p = paths + 6 * q, n1 = p[1], n3 = p[3], F = n3 * CI, size = CI * CO;
      const long first = part * n_nodes / n_parts;
      for (long i = first; i < (part + 1) * n_nodes / n_parts; i++) {{
        const long e = ptr[i], n = ptr[i + 1] - e;
        // B[m1][m3] of all edges, and z[edge][m3]
        std::fill_n(b.data(), n1 * n3 * n, 0);
        for (long t = p[4]; t < p[5]; t++) {{
          T *to = &b[terms[2 * t] * n], factor = factors[t];
          const T* harmonic = y + terms[2 * t + 1] * n_edges + e;
#pragma omp simd
          for (long j = 0; j < n; j++) to[j] += factor * harmonic[j];
        }}
        std::fill_n(z.data(), n * F, 0);
        for (long j = 0; j < n; j++)
          product(n3, n1, CI, {{&b[j], n, n3 * n}}, x + (src[e + j] * n_in + p[0]) * CI,
                  CI, &z[j * F], CI);
        // A[k][m3]
        std::fill_n(A.data(), K * F, 0);
        product(K, n, F, {{h + e * K, 1, K}}, z.data(), F, A.data(), F);
        if (!g) {{
          T* to = out + (i * n_out + p[2]) * CO;
          const T* M = m + q * K * size;
          for (long k = 0; k < K; k++, M += size)
            product(n3, CI, CO, {{&A[k * F], CI, 1}}, M, CO, to, CO);
          continue;
        }}
        const T* from = g + (i * n_out + p[2]) * CO;
        std::fill_n(gA.data(), K * F, 0);
        const T* M = mt + q * K * size;
        T* gM = gm + (part * n_paths + q) * K * size;
        for (long k = 0; k < K; k++, M += size, gM += size) {{
          product(n3, CO, CI, {{from, CO, 1}}, M, CI, &gA[k * F], CI);
          product(CI, n3, CO, {{&A[k * F], 1, CI}}, from, CO, gM, CO);
        }}
        dots(n, K, F, z.data(), gA.data(), gh + e * K);
        std::fill_n(gz.data(), n * F, 0);
        product(n, K, F, {{h + e * K, K, 1}}, gA.data(), F, gz.data(), F);
        for (long j = 0; j < n; j++)
          product(n1, n3, CI, {{&b[j], n3 * n, n}}, &gz[j * F], CI,
                  gx + ((e + j) * n_in + p[0]) * CI, CI);
      }}
    }}
  }}
}}
"""


class Gradients(NamedTuple):
    """Gradients for features, hidden features and matrix."""

    x: Tensor
    hidden: Tensor
    matrix: Tensor


@functools.cache
def library(
    channels_in: int, channels_out: int, dtype: torch.dtype
) -> ctypes.CDLL | None:
    """Compile the loops; None if impossible, or if channels do not fill vectors."""
    channels = math.gcd(channels_in, channels_out, MOST_AT_ONCE)
    if dtype not in CTYPES or channels % LEAST_WIDTH:
        return None
    tiles = ", ".join(f"tile<{rows}>" for rows in range(1, 13))
    code = SOURCE.format(channels=channels, tiles=tiles)
    return load_library(vector_source(channels, CTYPES[dtype]) + code)


@functools.cache
def tables(
    paths: Paths, channels: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the loops read of paths, normalised for so many channels.

    Returns
    -------
    tuple of Tensor
        (n_paths, 6): first row and rows of the features, first row and rows of the
        output, first term and the one after the last. (n_terms, 2): an entry of B, the
        coupling of features to output, and the harmonic that is added to it.
        (n_terms,): times this factor.
    """
    rows, terms, factors = [], [], []
    for ls, offsets, (_, _, end) in zip(paths.couplings, paths.offsets, paths.places):
        coupling = coupling_tensor(*ls) / math.sqrt(channels * paths.per_degree[end])
        places = (coupling.abs() > 1e-12).nonzero()  # (terms, 3)
        first, n_out = len(factors), 2 * ls[2] + 1
        terms += [(m1 * n_out + m3, offsets[1] + m2) for m1, m2, m3 in places.tolist()]
        factors += coupling[tuple(places.T)].tolist()
        before = sum(2 * l + 1 for l in paths.ls_out[:end])
        rows.append((offsets[0], 2 * ls[0] + 1, before, n_out, first, len(factors)))
    return torch.tensor(rows), torch.tensor(terms), torch.tensor(factors, dtype=dtype)


def convolve(
    paths: Paths, x: Tensor, y: Tensor, hidden: Tensor, matrix: Tensor, adj: Adjacency
) -> Tensor:
    """Convolve; `UVWConvolution` tells what, and the shapes of the arguments."""
    m = by_path(paths, x, matrix)
    n_out = sum(2 * l + 1 for l in paths.ls_out)
    out = x.new_zeros(len(x), n_out, m.shape[3])
    _run(paths, (x, y, hidden), m, adj, out=out)
    return out


def gradients(
    paths: Paths,
    x: Tensor,
    y: Tensor,
    hidden: Tensor,
    matrix: Tensor,
    adj: Adjacency,
    g: Tensor,
) -> Gradients:
    """Return the gradients of what `convolve` returns, whose own gradient is `g`."""
    m = by_path(paths, x, matrix)
    gx = x.new_zeros(len(y), *x.shape[1:])  # for every edge
    gh = torch.zeros_like(hidden, memory_format=torch.contiguous_format)
    n_parts = max(1, min(MOST_PARTS, len(y) // EDGES_PER_PART))
    gm = m.new_zeros(n_parts, *m.shape)
    _run(paths, (x, y, hidden), m, adj, g=g.contiguous(), gx=gx, gh=gh, gm=gm)
    return Gradients(
        torch.zeros_like(x).index_add_(0, adj.src, gx),
        gh,
        gm.sum(0).transpose(0, 1).reshape(matrix.shape),
    )


def by_path(paths: Paths, x: Tensor, matrix: Tensor) -> Tensor:
    """Return a matrix as (n_paths, hidden, channels in, channels out)."""
    shape = len(matrix), len(paths.couplings), x.shape[2], -1
    return matrix.view(shape).transpose(0, 1).contiguous()


def _run(
    paths: Paths,
    inputs: tuple[Tensor, Tensor, Tensor],
    m: Tensor,
    adj: Adjacency,
    **results: Tensor,
) -> None:
    """Call the loops."""
    x, y, hidden = inputs
    _, n_hidden, n_in, n_out = m.shape
    compiled = library(n_in, n_out, x.dtype)
    assert compiled is not None
    gm = results.get("gm")
    n_parts = -(-len(x) // NODES_PER_PART) if gm is None else len(gm)
    invoke(
        compiled,
        "uvw",
        *(x.contiguous(), y.T.contiguous(), hidden.contiguous(), m),
        None if gm is None else m.mT.contiguous(),
        *map(results.get, ("g", "out", "gx", "gh", "gm")),
        *tables(paths, n_in, x.dtype),
        *(adj.dst_ptr, adj.src, len(m), paths.n_in),
        sum(2 * l + 1 for l in paths.ls_out),
        2 * max(*paths.ls_in, *paths.ls_out) + 1,
        *(n_hidden, n_in, n_out, len(y), int(adj.dst_ptr.diff().max()), len(x)),
        *(n_parts, torch.get_num_threads()),
    )
