"""C++ of weights mixed from hidden features: small matrix products in registers.

With the hidden features h of a block of edges and the matrix m,

    w = h m,    gh = gw m^T,    gm += h^T gw,

tiles of four rows by up to four vectors stay in registers; the first product is
`multiply` of `cpp_vectors`. Hidden features are read from memory, or interpolated by
cubic polynomials between the knots of a table that holds their coefficients.
"""

from __future__ import annotations

__all__ = ["mixing_source"]

SOURCE = """\
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

// hidden features at distances r; grid holds first knot, last knot, intervals
static inline void interpolate(int n, const long* edges, const T* r,
                               const T* grid, const T* table, T* h, T* slopes) {{
  const T scale = grid[2] / (grid[1] - grid[0]);
  for (int i = 0; i < n; i++) {{
    const T d = r[edges[i]];
    const T s = (std::min(d, grid[1]) - grid[0]) * scale;
    const long knot = std::max(0L, std::min((long)s, (long)grid[2] - 1));
    const T t = s - knot, inside = d < grid[1] ? scale : 0;
    const T* c = table + knot * 4 * K;  // coefficients of the powers of t
    for (int k = 0; k < K; k++) {{
      const T c1 = c[K + k], c2 = c[2 * K + k], c3 = c[3 * K + k];
      h[i * K + k] = c[k] + t * (c1 + t * (c2 + t * c3));
      slopes[i * K + k] = (c1 + t * (2 * c2 + 3 * t * c3)) * inside;
    }}
  }}
}}

static inline void along(int n, const long* edges, const T* gh,
                         const T* slopes, T* gr) {{
  for (int i = 0; i < n; i++) {{
    T sum = 0;
    for (int k = 0; k < K; k++) sum += gh[i * K + k] * slopes[i * K + k];
    gr[edges[i]] = sum;
  }}
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


def mixing_source(hidden: int, filters: int) -> str:
    """Write the functions for rows of `hidden` features and `filters` weights."""
    return SOURCE.format(hidden=hidden, filters=filters)
