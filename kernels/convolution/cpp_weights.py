"""C++ of weights that are made for a block of edges at a time.

Mixed from hidden features h by a matrix m,

    w = h m,    gh = gw m^T,    gm += h^T gw,

in tiles of four rows by up to four vectors that stay in registers; the first product is
`multiply` of `cpp_vectors`. Or interpolated by cubic polynomials between the knots of a
table that holds their coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

from equicalc.kernels.cpp_vectors import vector_source

__all__ = ["GIVEN", "Weights", "weights_source"]


@dataclass(frozen=True)
class Weights:
    """Where the weights of an edge come from.

    Attributes
    ----------
    hidden : int
        Number of hidden features that a matrix mixes; 0 for other weights.
    tabulated : bool
        Whether they are interpolated in a table of the distance. If neither, they are
        given.
    """

    hidden: int = 0
    tabulated: bool = False


GIVEN = Weights()

MIXED = """\
constexpr int K = {hidden}, F = {filters};
constexpr int VECTORS = vectors(F), COLUMNS = K % 4 == 0 ? 4 : K % 2 == 0 ? 2 : 1;

// rows of a block of edges
static inline void gather(int n, const long* edges, const T* from, T* to) {{
  for (int i = 0; i < n; i++)
    std::memcpy(to + i * K, from + edges[i] * K, K * sizeof(T));
}}

static inline void scatter(int n, const long* edges, const T* from, T* to) {{
  for (int i = 0; i < n; i++)
    std::memcpy(to + edges[i] * K, from + i * K, K * sizeof(T));
}}

static void unmix(int n, const T* w, const T* m, T* h, bool add) {{
  for (int k = 0; k < K; k += COLUMNS)
    for (int i = 0; i < n; i += TILE) {{
      V sum[TILE][COLUMNS] = {{}};
      for (int f = 0; f < F; f += W)
        for (int a = 0; a < TILE; a++)
          for (int b = 0; b < COLUMNS; b++)
            sum[a][b] += at(w + (i + a) * F + f) * at(m + (k + b) * F + f);
      for (int a = 0; a < TILE; a++)
        for (int b = 0; b < COLUMNS; b++) {{
          T& to = h[(i + a) * K + k + b];
          to = (add ? to : 0) + total(sum[a][b]);
        }}
    }}
}}

static void outer(int n, const T* h, const T* w, T* m) {{
  for (int k = 0; k < K; k += COLUMNS)
    for (int f = 0; f < F; f += VECTORS * W) {{
      V sum[COLUMNS][VECTORS];
      for (int a = 0; a < COLUMNS; a++)
        for (int b = 0; b < VECTORS; b++) sum[a][b] = at(m + (k + a) * F + f + b * W);
      for (int i = 0; i < n; i++)
        for (int a = 0; a < COLUMNS; a++)
          for (int b = 0; b < VECTORS; b++)
            sum[a][b] += h[i * K + k + a] * at(w + i * F + f + b * W);
      for (int a = 0; a < COLUMNS; a++)
        for (int b = 0; b < VECTORS; b++) at(m + (k + a) * F + f + b * W) = sum[a][b];
    }}
}}
"""


TABULATED = """\
constexpr int F = {filters};

// weights at distances r and, if asked for, their slopes; grid holds first knot, last
// knot, intervals
static inline void interpolate(int n, const long* edges, const T* r, const T* grid,
                               const T* table, T* w, T* slopes) {{
  const T scale = grid[2] / (grid[1] - grid[0]);
  for (int i = 0; i < n; i++) {{
    const T d = r[edges[i]];
    const T s = (std::min(d, grid[1]) - grid[0]) * scale;
    const long knot = std::max(0L, std::min((long)s, (long)grid[2] - 1));
    const T t = s - knot, inside = d < grid[1] ? scale : 0;
    const T* c = table + knot * 4 * F;  // coefficients of the powers of t
    for (int f = 0; f < F; f += W) {{
      const V c1 = at(c + F + f), c2 = at(c + 2 * F + f), c3 = at(c + 3 * F + f);
      at(w + i * F + f) = at(c + f) + t * (c1 + t * (c2 + t * c3));
      if (slopes)
        at(slopes + i * F + f) = (c1 + t * (c2 + c2 + T(3) * t * c3)) * inside;
    }}
  }}
}}

static inline void along(int n, const long* edges, const T* gw, const T* slopes,
                         T* gr) {{
  for (int i = 0; i < n; i++) {{
    V sum = {{}};
    for (int f = 0; f < F; f += W) sum += at(gw + i * F + f) * at(slopes + i * F + f);
    gr[edges[i]] = total(sum);
  }}
}}
"""


def weights_source(weights: Weights, filters: int, channels: int, ctype: str) -> str:
    """Write the beginning of a translation unit with what makes `filters` weights."""
    source = vector_source(channels, ctype)
    if weights.tabulated:
        return source + TABULATED.format(filters=filters)
    if weights.hidden:
        return source + MIXED.format(hidden=weights.hidden, filters=filters)
    return source
