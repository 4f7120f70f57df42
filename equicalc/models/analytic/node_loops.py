"""C++ of what a layer does at its nodes, a block of them at a time.

Matrices lie one after another in one array, those of the backward pass transposed, so
that every product runs over contiguous rows: the maps before the convolution, the maps
after it, those of the features, then hidden layer and output of the gate, their biases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from equicalc.kernels.cpp_vectors import vector_source

__all__ = ["Shape", "maps_source"]

SOURCE = """\
constexpr int C = {channels}, D = {n_out}, F = D * C, H = {width}, BLOCK = 8;
constexpr int IN = {rows_in} * C, OUT = {rows_out} * C, ROWS = {rows} * C;
constexpr int FIRST[] = {{{first}}};  // row of every degree, and the end
constexpr int GATE = {gate} * C * C, BIAS = GATE + 2 * F * H;
constexpr T BOUND = {bound};

// blocks of nodes, shared among the threads
template <class Work> static void blocks(long n_nodes, long n_threads, Work work) {{
#pragma omp parallel for schedule(dynamic) num_threads(n_threads)
  for (long first = 0; first < n_nodes; first += BLOCK)
    work(first, (int)std::min<long>(BLOCK, n_nodes - first));
}}

// M rows of every node times the factors of its species
template <int M> static void scaled(int n, const T* x, int x_pitch, const long* species,
                                    const T* scale, T* to, int to_pitch) {{
  for (int i = 0; i < n; i++)
    for (int r = 0; r < M; r++)
      for (int u = 0; u < C; u++)
        to[i * to_pitch + r * C + u] =
            x[i * x_pitch + r * C + u] * scale[species[i] * {n_kept} * C + u];
}}

// bounded scalars and squared norms of a node, and what they were multiplied by
static void invariants(const T* x, T* to, T* squash) {{
  for (int d = 0; d < D; d++)
    for (int u = 0; u < C; u++) {{
      T value = x[u];
      if (d) {{
        value = 0;
        for (int r = FIRST[d]; r < FIRST[d + 1]; r++)
          value += x[r * C + u] * x[r * C + u];
        value /= FIRST[d + 1] - FIRST[d];
      }}
      const T q = value / BOUND;
      squash[d * C + u] = 1 / std::sqrt(1 + q * q);
      to[d * C + u] = value * squash[d * C + u];
    }}
}}

extern "C" void before(const T* x, const T* w, T* to, long n_nodes, long add,
                       long n_threads) {{
  blocks(n_nodes, n_threads, [=](long first, int n) {{
    const T* from = x + first * IN;
    T* into = to + first * IN;
    {before}
  }});
}}

extern "C" void after(const T* messages, const T* features, const long* kinds,
                      const T* scale, const T* w, T* results, T* inner, T* opened,
                      T* slopes, long n_nodes, long n_threads) {{
  blocks(n_nodes, n_threads, [=](long first, int n) {{
    const T *m = messages + first * ROWS, *h = features + first * IN;
    const long* species = kinds + first;
    T *x = inner + first * OUT, *gates = opened + first * F;
    T own[BLOCK * OUT], in[BLOCK * F], hidden[BLOCK * H], squash[F];
    {after}
    for (int i = 0; i < n; i++) {{
      invariants(x + i * OUT, in + i * F, squash);
      std::memcpy(hidden + i * H, w + BIAS, H * sizeof(T));
      std::memcpy(gates + i * F, w + BIAS + H, F * sizeof(T));
    }}
    multiply<1, F, H>(n, in, F, w + GATE, hidden, H, true);
    for (int k = 0; k < n * H; k++) {{  // SiLU
      const T open = 1 / (1 + std::exp(-hidden[k]));
      slopes[first * H + k] = open * (1 + hidden[k] * (1 - open));
      hidden[k] *= open;
    }}
    multiply<1, H, F>(n, hidden, H, w + GATE + F * H, gates, F, true);
    for (int i = 0; i < n; i++)
      for (int d = 0; d < D; d++)
        for (int r = FIRST[d]; r < FIRST[d + 1]; r++)
          for (int u = 0; u < C; u++)
            results[(first + i) * OUT + r * C + u] =
                gates[i * F + d * C + u] * (d ? x[i * OUT + r * C + u] : 1);
  }});
}}

extern "C" void pull_after(const T* gradient, const T* inner, const T* opened,
                           const T* slopes, const long* kinds, const T* scale,
                           const T* w, T* g_messages, T* g_features, long n_nodes,
                           long n_threads) {{
  blocks(n_nodes, n_threads, [=](long first, int n) {{
    const T *g = gradient + first * OUT, *x = inner + first * OUT;
    const T* gates = opened + first * F;
    const long* species = kinds + first;
    T gx[BLOCK * OUT], own[BLOCK * OUT], gv[BLOCK * F], gh[BLOCK * H];
    T values[F], squash[F];
    for (int i = 0; i < n; i++)
      for (int d = 0; d < D; d++)
        for (int u = 0; u < C; u++) {{
          T sum = d ? 0 : g[i * OUT + u];
          for (int r = FIRST[d]; d && r < FIRST[d + 1]; r++)
            sum += g[i * OUT + r * C + u] * x[i * OUT + r * C + u];
          gv[i * F + d * C + u] = sum;
        }}
    multiply<1, F, H>(n, gv, F, w + GATE + F * H, gh, H, false);
    for (int k = 0; k < n * H; k++) gh[k] *= slopes[first * H + k];
    multiply<1, H, F>(n, gh, H, w + GATE, gv, F, false);
    for (int i = 0; i < n; i++) {{
      invariants(x + i * OUT, values, squash);
      for (int d = 0; d < D; d++)
        for (int r = FIRST[d]; r < FIRST[d + 1]; r++)
          for (int u = 0; u < C; u++) {{
            const int at = i * OUT + r * C + u, k = d * C + u;
            const T pulled = gv[i * F + k] * squash[k] * squash[k] * squash[k];
            const T slope = d ? x[at] * 2 / (FIRST[d + 1] - FIRST[d]) : 1;
            gx[at] = pulled * slope + (d ? g[at] * gates[i * F + k] : 0);
          }}
    }}
    T* gm = g_messages + first * ROWS;
    {to_messages}
    if (!g_features) return;
    T* gf = g_features + first * IN;
    std::memset(gf, 0, n * IN * sizeof(T));
    {to_features}
  }});
}}
"""


@dataclass(frozen=True)
class Shape:
    """Everything that the C++ of a layer depends on, but the numbers' type.

    Attributes
    ----------
    ls_in, ls_out : tuple of int
        Degrees of the features before and after; `ls_out` begins with 0.
    n_paths : tuple of int
        Paths of the convolution to every degree of `ls_out`.
    channels : int
        Channels of every degree.
    width : int
        Hidden features of the gate.
    bound : float
        Largest magnitude of an invariant of the gate.
    """

    ls_in: tuple[int, ...]
    ls_out: tuple[int, ...]
    n_paths: tuple[int, ...]
    channels: int
    width: int
    bound: float

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Degrees that there are before and after."""
        return tuple(l for l in self.ls_out if l in self.ls_in)

    @cached_property
    def rows_in(self) -> list[int]:
        """First row of every degree of the input, and their number."""
        return [0, *accumulate(2 * l + 1 for l in self.ls_in)]

    @cached_property
    def rows_out(self) -> list[int]:
        """First row of every degree of the output, and their number."""
        return [0, *accumulate(2 * l + 1 for l in self.ls_out)]

    @cached_property
    def rows(self) -> list[int]:
        """First row of every degree of the messages, and their number."""
        pairs = zip(self.ls_out, self.n_paths, strict=True)
        return [0, *accumulate((2 * l + 1) * n for l, n in pairs)]


def maps_source(shape: Shape, ctype: str) -> str:
    """Write the functions for a layer."""
    before, after, to_messages, to_features = [], [], [], []
    matrix = 0
    for l, row in zip(shape.ls_in, shape.rows_in, strict=False):
        rows = f"{row} * C, IN"
        before.append(_multiply(l, f"from + {rows}", matrix, f"into + {rows}", "add"))
        matrix += 1
    starts = zip(shape.rows, shape.rows_out, strict=True)
    for l, n, (row, to) in zip(shape.ls_out, shape.n_paths, starts, strict=False):
        m, x = f"m + {row} * C, ROWS", f"x + {to} * C, OUT"
        after.append(_multiply(l, m, matrix, x, n_in=n))
        to_messages.append(_multiply(l, f"g{x}", matrix, f"g{m}", n_out=n))
        matrix += n
    for k, l in enumerate(shape.kept):
        h = f"{shape.rows_in[shape.ls_in.index(l)]} * C, IN"
        x = f"x + {shape.rows_out[shape.ls_out.index(l)]} * C, OUT"
        own = f"own, {2 * l + 1} * C"
        scaled = f"scaled<{2 * l + 1}>(n, {{}}, species, scale + {k} * C, {{}});"
        after.append(scaled.format(f"h + {h}", own))
        after.append(_multiply(l, own, matrix, x, "true"))
        to_features.append(_multiply(l, f"g{x}", matrix, own))
        to_features.append(scaled.format(own, f"gf + {h}"))
        matrix += 1
    lists = {"before": before, "after": after}
    lists |= {"to_messages": to_messages, "to_features": to_features}
    code = SOURCE.format(
        channels=shape.channels,
        width=shape.width,
        n_out=len(shape.ls_out),
        n_kept=len(shape.kept),
        rows_in=shape.rows_in[-1],
        rows_out=shape.rows_out[-1],
        rows=shape.rows[-1],
        first=", ".join(map(str, shape.rows_out)),
        gate=matrix,
        bound=shape.bound,
        **{name: "\n    ".join(lines) for name, lines in lists.items()},
    )
    return vector_source(math.gcd(shape.channels, shape.width), ctype) + code


def _multiply(
    l: int,
    x: str,
    matrix: int,
    to: str,
    add: str = "false",
    *,
    n_in: int = 1,
    n_out: int = 1,
) -> str:
    """Write a product of all rows of a degree; each holds C times `n_in` numbers."""
    sizes = f"{2 * l + 1}, {n_in} * C, {n_out} * C"
    return f"multiply<{sizes}>(n, {x}, w + {matrix} * C * C, {to}, {add});"
