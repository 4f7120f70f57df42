"""C++ of the fused uvu convolution.

Channels are the lanes of vectors. Weights come in three ways: given for every edge;
mixed from hidden features by a matrix; or interpolated in a table of the distance.
The latter two exist for a block of a node's edges at a time, in a buffer that stays in
the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from equicalc.kernels.emit import cpp_block, cpp_statements
from equicalc.kernels.expr import Expr

from .cpp_weights import GIVEN, Weights, weights_source
from .paths import Paths
from .product import Loop, Product, loops

__all__ = ["cpp_source"]


LOOP = """\
extern "C" void {name}({arguments}, const long* ptr, const long* order,
    const long* other, long n_nodes, long n_chunks, long n_threads) {{
#pragma omp parallel for schedule(dynamic) num_threads(n_threads)
  for (long chunk = 0; chunk < n_chunks; chunk++)
  for (long node = chunk * n_nodes / n_chunks;
       node < (chunk + 1) * n_nodes / n_chunks; node++) {{
    {clear}
    for (long first = ptr[node]; first < ptr[node + 1]; first += {block}) {{
      const int n = std::min<long>({block}, ptr[node + 1] - first);
      long edges[{block}];
      for (int i = 0; i < n; i++) edges[i] = order ? order[first + i] : first + i;
      {before}
      for (int i = 0; i < n; i++) {{
        const long edge = edges[i], peer = other[edge];
        const long next = std::min(first + i + 1, ptr[n_nodes] - 1);
        const long next_edge = order ? order[next] : next, next_peer = other[next_edge];
        {scalars}
        for (long u = 0; u < {channels}; u += W) {{
          {vectors}
        }}
        {reduce}
      }}
      {after}
    }}
  }}
}}
"""


@dataclass
class Body:
    """Lines of a loop, gathered by place."""

    arguments: list[str] = field(default_factory=list)
    clear: list[str] = field(default_factory=list)  # per node
    before: list[str] = field(default_factory=list)  # per block of edges
    scalars: list[str] = field(default_factory=list)  # per edge
    vectors: list[str] = field(default_factory=list)  # per edge and vector of channels
    reduce: list[str] = field(default_factory=list)  # per edge, after its channels
    after: list[str] = field(default_factory=list)  # per block of edges
    loads: dict[Expr, str] = field(default_factory=dict)  # what becomes vectors:
    stores: dict[Expr, list[str]] = field(default_factory=dict)  # see `cpp_block`


@dataclass(frozen=True)
class Writer:
    """Writes loops for given channels, type and weights."""

    product: Product
    channels: int
    ctype: str
    weights: Weights
    block: int

    def write(self, loop: Loop) -> str:
        """Write a function."""
        body, where, outputs = Body(), dict(loop.where), dict(loop.outputs)
        if self.weights != GIVEN:
            if {"vw", "gw"} <= where.keys():  # the tangent of mixing needs both
                where["fw"], outputs["fw"] = "edge", self.product.backward["gw"]
            names = [array for array in where if array.endswith("w")]
            body.before += [f"alignas(64) T {n}[{self.block} * F];" for n in names]
            if self.weights.tabulated:
                self._interpolate(body, where)
            else:
                self._mix(body, where)
            where |= {array: "i" for array in where if array.endswith("w")}
        for array, row in where.items():
            if row != "i":
                self._argument(body, array, constant=array not in outputs)
            elif array != "fw":
                self._arguments_of_weights(body, array)
            if array not in outputs:
                load = self._load_harmonics if array.endswith("y") else self._load
                load(body, array, row)
        for array, columns in outputs.items():
            if array == "gy":
                self._reduce(body, columns)
            else:
                self._store(body, array, where[array], columns)
        graph, path, ctype = self.product.graph, self.product.path, f"{self.ctype}_v"
        body.vectors += cpp_block(graph, body.loads, body.stores, path, ctype)
        lists = ((k, v) for k, v in vars(body).items() if isinstance(v, list))
        places = {name: "\n".join(lines) for name, lines in lists}
        places["arguments"] = ", ".join(body.arguments)
        return LOOP.format(
            name=loop.name, channels=self.channels, block=self.block, **places
        )

    def _argument(self, body: Body, name: str, constant: bool = True) -> None:
        body.arguments.append(f"{'const ' if constant else ''}T* __restrict__ {name}")

    def _arguments_of_weights(self, body: Body, array: str) -> None:
        """Pass what makes an array, or what becomes of a gradient, in its place."""
        v = array[0] if array != "w" else ""
        names = [f"{v}r"] if self.weights.tabulated else [f"{v}h", f"{v}m"]
        if self.weights.tabulated and not v:
            names += ["grid", "table"]
        for name in names:
            self._argument(body, name, constant=v != "g")

    def _interpolate(self, body: Body, where: dict[str, str]) -> None:
        """Fill the buffer of the weights, and sum up what moves along the edges."""
        slopes = "slopes" if "gw" in where else "nullptr"
        if "gw" in where:
            body.before.append(f"T slopes[{self.block} * F];")
            body.after.append("along(n, edges, gw, slopes, gr);")
        body.before.append(f"interpolate(n, edges, r, grid, table, w, {slopes});")

    def _mix(self, body: Body, where: dict[str, str]) -> None:
        """Fill the buffers of the weights, and pull their gradients back."""
        body.before += [
            f"T hs[{self.block} * K];",
            "gather(n, edges, h, hs);",
            "multiply<1, K, F>(n, hs, K, m, w, F, false);",
        ]
        if "vw" in where:
            body.before += [
                f"T vhs[{self.block} * K];",
                "gather(n, edges, vh, vhs);",
                "multiply<1, K, F>(n, vhs, K, m, vw, F, false);",
                "if (vm) multiply<1, K, F>(n, hs, K, vm, vw, F, true);",
            ]
        if "gw" not in where:
            return
        body.after += [f"T ghs[{self.block} * K];", "unmix(n, gw, m, ghs, false);"]
        if "fw" in where:
            body.after.append("if (vm) unmix(n, fw, vm, ghs, true);")
        body.after.append("scatter(n, edges, ghs, gh);")
        body.after.append("if (gm) outer(n, hs, gw, gm + chunk * K * F);")
        if "fw" in where:
            body.after.append("if (gm) outer(n, vhs, fw, gm + chunk * K * F);")

    def _load(self, body: Body, array: str, row: str) -> None:
        columns = self.product.inputs[array]
        places = self._places(body, array, row, len(columns))
        for column, place in zip(columns, places, strict=True):
            body.loads[column] = f"const V {column.value} = {place};"

    def _load_harmonics(self, body: Body, array: str, row: str) -> None:
        """Read y (or its tangent) and compute B from it."""
        columns = self.product.inputs[array]
        body.scalars += [
            f"const T {column.value} = {array}[{row} * {len(columns)} + {j}];"
            for j, column in enumerate(columns)
        ]
        matrix = array.replace("y", "b")
        coupled = self.product.coupled[matrix]
        lines, values = cpp_statements(self.product.graph, coupled, self.ctype)
        body.scalars += lines
        body.scalars += [
            f"const T {matrix}{j} = {value};" for j, value in enumerate(values)
        ]

    def _store(self, body: Body, array: str, row: str, columns: list[Expr]) -> None:
        """Write to an edge, or add to a node that starts from zero."""
        if row == "node":
            size = len(columns) * self.channels
            start = f"{array} + node * {size}"
            body.clear.append(f"std::memset({start}, 0, {size} * sizeof(T));")
        sign = "+=" if row == "node" else "="
        places = self._places(body, array, row, len(columns))
        for column, place in zip(columns, places, strict=True):
            body.stores.setdefault(column, []).append(f"{place} {sign} {{}};")

    def _reduce(self, body: Body, columns: list[Expr]) -> None:
        """Sum over the channels: in vectors first, across a vector at the end."""
        n = len(columns)
        body.scalars += [f"V sum{j} = {{}};" for j in range(n)]
        for j, column in enumerate(columns):
            body.stores.setdefault(column, []).append(f"sum{j} += {{}};")
        body.reduce += [f"gy[edge * {n} + {j}] = total(sum{j});" for j in range(n)]

    def _places(self, body: Body, array: str, row: str, n: int) -> list[str]:
        """Vectors of channels in the n columns of a row; ask for the next edge's."""
        kind = "const U" if array in self.product.inputs else "U"
        start = f"{array} + {{}} * {n * self.channels}"
        offsets = [f" + {j * self.channels} + u" for j in range(n)]
        if row in ("edge", "peer"):
            ahead = start.format(f"next_{row}")
            body.vectors += [f"__builtin_prefetch({ahead}{at});" for at in offsets]
        return [f"*({kind}*)({start.format(row)}{at})" for at in offsets]


def cpp_source(
    paths: Paths, channels: int, ctype: str, weights: Weights = GIVEN
) -> str:
    """Write the forward, backward and double backward pass as C functions.

    Parameters
    ----------
    paths : Paths
        Couplings of the product.
    channels : int
        Number of channels, fixed at compile time.
    ctype : str
        ``float`` or ``double``.
    weights : Weights
        Where the weights come from; tabulated ones have no double backward pass.
    """
    filters = len(paths.couplings) * channels
    block = buffer_rows(filters)
    product = Product(paths)
    wanted = loops(product)[: 2 if weights.tabulated else None]
    writer = Writer(product, channels, ctype, weights, block)
    beginning = weights_source(weights, filters, channels, ctype)
    return "\n".join([beginning, *map(writer.write, wanted)])


def buffer_rows(filters: int) -> int:
    """Edges whose weights fit in a buffer of 8192 numbers: 16 at most, 4 at least."""
    return max(4, min(16, 8192 // filters // 4 * 4))
