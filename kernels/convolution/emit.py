"""C++ of the fused uvu convolution, written from one expression graph.

Per edge and channel the product is trilinear,

    out[k] = w[p] * sum_m x[m] B[m, k],    B[m, k] = sum_b C[m, b, k] y[b],

and B is the same for all channels: scalars, while x, w and out are vectors of channels.
The backward pass is the symbolic vjp of the forward pass, the double backward pass the
vjp of the backward pass. Sums over a node's edges are loops over compressed rows: by
receiver where the result belongs to receivers, by sender where it belongs to senders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from equicalc.kernels.emit import cpp_statements
from equicalc.kernels.expr import Expr, Graph

from .paths import Paths, coupling_tensor

__all__ = ["cpp_source"]

Named = dict[str, list[Expr]]


@dataclass
class Product:
    """The product and its derivatives as expressions.

    `x`, `w`, `g` are channel vectors: features, weights and the gradient of the output;
    `y` are scalars; names with a leading v are tangents of the backward pass.
    """

    paths: Paths
    graph: Graph = field(default_factory=Graph)

    def __post_init__(self) -> None:
        paths, graph = self.paths, self.graph
        n_x = sum(2 * l + 1 for l in paths.ls_in)
        n_y = sum(2 * l + 1 for l in paths.ls_edge)
        count = {"x": n_x, "w": len(paths.couplings), "g": paths.rows, "y": n_y}
        self.inputs: Named = {
            v + name: graph.inputs([f"{v}{name}{i}" for i in range(n)])
            for name, n in count.items()
            for v in ("", "v")
        }
        self.coupled: Named = {"b": [], "vb": []}  # B and its tangent, from y and vy
        self.names: Named = {"b": [], "vb": []}  # the same as inputs of channel loops
        self.coefficients: list[list[tuple[int, float]]] = []
        self.forward = [graph.const(0.0)] * paths.rows
        self._couple()
        self._differentiate()

    def _couple(self) -> None:
        """Write B and the forward pass."""
        x, w = self.inputs["x"], self.inputs["w"]
        for p, (l1, l2, l3) in enumerate(self.paths.couplings):
            first_x = self.paths.offset(self.paths.ls_in, l1)
            first_y = self.paths.offset(self.paths.ls_edge, l2)
            C = coupling_tensor(l1, l2, l3)
            for k, row in enumerate(self.paths.row_of[p]):
                terms = []
                for m in range(2 * l1 + 1):
                    column = C[m, :, k].tolist()
                    nonzero = [
                        (first_y + b, c) for b, c in enumerate(column) if abs(c) > 1e-12
                    ]
                    if nonzero:
                        terms.append(self._entry(nonzero) * x[first_x + m])
                self.forward[row] = w[p] * self.graph.sum(terms)

    def _entry(self, nonzero: list[tuple[int, float]]) -> Expr:
        """Add one element of B; return it as an input of the channel loops."""
        for v in ("", "v"):
            y = self.inputs[v + "y"]
            self.coupled[v + "b"].append(self.graph.sum([c * y[b] for b, c in nonzero]))
            name = f"{v}b{len(self.names[v + 'b'])}"
            self.names[v + "b"].append(self.graph.input(name))
        self.coefficients.append(nonzero)
        return self.names["b"][-1]

    def _to_harmonics(self, gradient: Sequence[Expr]) -> list[Expr]:
        """Carry a gradient from B over to y."""
        terms: list[list[Expr]] = [[] for _ in self.inputs["y"]]
        for g, nonzero in zip(gradient, self.coefficients, strict=True):
            for b, c in nonzero:
                terms[b].append(c * g)
        return [self.graph.sum(t) for t in terms]

    def _differentiate(self) -> None:
        graph, inputs = self.graph, self.inputs
        x, w, b, g = inputs["x"], inputs["w"], self.names["b"], inputs["g"]
        gradient = graph.vjp(self.forward, g, [*x, *w, *b])
        tangent = [*inputs["vx"], *inputs["vw"], *self.names["vb"]]
        change = graph.sum([t * d for t, d in zip(tangent, gradient, strict=True)])
        second = graph.vjp([change], [graph.const(1.0)], [*x, *w, *b, *g])
        n, m = len(x), len(x) + len(w)
        self.backward: Named = {
            "gx": gradient[:n],
            "gw": gradient[n:m],
            "gy": self._to_harmonics(gradient[m:]),
        }
        self.double: Named = {
            "gx": second[:n],
            "gw": second[n:m],
            "gy": self._to_harmonics(second[m : m + len(b)]),
            "gg": second[m + len(b) :],
        }


HEADER = """\
#include <cmath>
#include <cstring>
typedef {ctype} {ctype}_v __attribute__((vector_size({width} * sizeof({ctype}))));
typedef {ctype}_v {ctype}_u __attribute__((aligned(sizeof({ctype}))));
static inline {ctype} total({ctype}_v v) {{
  {ctype} t[{width}];
  std::memcpy(t, &v, sizeof(t));
  {ctype} sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < {width}; i++) sum += t[i];
  return sum;
}}
"""

LOOP = """\
extern "C" void {name}({arguments}, const long* ptr, const long* order,
    const long* other, long n_nodes, int n_threads) {{
#pragma omp parallel for schedule(dynamic, 8) num_threads(n_threads)
  for (long node = 0; node < n_nodes; node++) {{
{clear}
    for (long k = ptr[node]; k < ptr[node + 1]; k++) {{
      const long edge = order ? order[k] : k, peer = other[edge];
{scalars}
      for (long u = 0; u < {channels}; u += {width}) {{
{vectors}
      }}
{reduce}
    }}
  }}
}}
"""


@dataclass
class Body:
    """Lines of a loop, gathered by place."""

    arguments: list[str] = field(default_factory=list)
    clear: list[str] = field(default_factory=list)  # per node
    scalars: list[str] = field(default_factory=list)  # per edge
    vectors: list[str] = field(default_factory=list)  # per edge and vector of channels
    reduce: list[str] = field(default_factory=list)  # per edge, after its channels


@dataclass(frozen=True)
class Writer:
    """Writes one loop over nodes and their edges for given channels and type."""

    product: Product
    channels: int
    ctype: str
    width: int

    def loop(self, name: str, where: dict[str, str], outputs: Named) -> str:
        """Write a function.

        Parameters
        ----------
        name : str
            Of the C function.
        where : dict
            For every array its row: ``node`` (the loop's), ``peer`` (the other end)
            or ``edge``; inputs first, outputs after. An output at ``node`` is summed
            over the edges; one called gy is summed over the channels.
        outputs : dict
            Expressions of the outputs.
        """
        body = Body()
        for array, row in where.items():
            constant = "" if array in outputs else "const "
            body.arguments.append(f"{constant}{self.ctype}* __restrict__ {array}")
            if array in outputs:
                continue
            if array.endswith("y"):
                self._load_harmonics(body, array, row)
            else:
                self._load_channels(body, array, row)
        flat = [e for columns in outputs.values() for e in columns]
        vector = f"{self.ctype}_v"
        lines, values = cpp_statements(self.product.graph, flat, vector)
        body.vectors += lines
        remaining = iter(values)
        for array, columns in outputs.items():
            texts = [next(remaining) for _ in columns]
            if array == "gy":
                self._reduce(body, texts)
            else:
                self._store(body, array, where[array], texts)
        return LOOP.format(
            name=name,
            arguments=", ".join(body.arguments),
            clear=_indent(body.clear, 4),
            scalars=_indent(body.scalars, 6),
            vectors=_indent(body.vectors, 8),
            reduce=_indent(body.reduce, 6),
            channels=self.channels,
            width=self.width,
        )

    def _load_harmonics(self, body: Body, array: str, row: str) -> None:
        """Read y (or its tangent) and compute B from it."""
        columns = self.product.inputs[array]
        body.scalars += [
            f"const {self.ctype} {column.value} = "
            f"{array}[{row} * {len(columns)} + {j}];"
            for j, column in enumerate(columns)
        ]
        matrix = array.replace("y", "b")
        coupled = self.product.coupled[matrix]
        lines, values = cpp_statements(self.product.graph, coupled, self.ctype)
        body.scalars += lines
        body.scalars += [
            f"const {self.ctype} {matrix}{j} = {value};"
            for j, value in enumerate(values)
        ]

    def _load_channels(self, body: Body, array: str, row: str) -> None:
        columns = self.product.inputs[array]
        body.vectors += [
            f"const {self.ctype}_v {column.value} = "
            f"{self._at(array, row, len(columns), j)};"
            for j, column in enumerate(columns)
        ]

    def _store(self, body: Body, array: str, row: str, texts: list[str]) -> None:
        """Write to an edge, or add to a node that starts from zero."""
        if row == "node":
            size = len(texts) * self.channels
            start = f"{array} + node * {size}"
            body.clear.append(f"std::memset({start}, 0, {size} * sizeof(*{array}));")
        sign = "+=" if row == "node" else "="
        body.vectors += [
            f"{self._at(array, row, len(texts), j)} {sign} {text};"
            for j, text in enumerate(texts)
        ]

    def _reduce(self, body: Body, texts: list[str]) -> None:
        """Sum over the channels: in vectors first, across a vector at the end."""
        n = len(texts)
        body.scalars += [f"{self.ctype}_v sum{j} = {{}};" for j in range(n)]
        body.vectors += [f"sum{j} += {text};" for j, text in enumerate(texts)]
        body.reduce += [f"gy[edge * {n} + {j}] = total(sum{j});" for j in range(n)]

    def _at(self, array: str, row: str, n_columns: int, column: int) -> str:
        """Vector of channels in a column of a row of an array."""
        pitch, offset = n_columns * self.channels, column * self.channels
        constant = "const " if array in self.product.inputs else ""
        return f"*({constant}{self.ctype}_u*)({array} + {row} * {pitch} + {offset} + u)"


def _indent(lines: list[str], columns: int) -> str:
    return "\n".join(" " * columns + line for line in lines)


def cpp_source(paths: Paths, channels: int, ctype: str) -> str:
    """Write the forward, backward and double backward pass as C functions.

    Parameters
    ----------
    paths : Paths
        Couplings of the product.
    channels : int
        Number of channels, fixed at compile time.
    ctype : str
        ``float`` or ``double``.
    """
    widest = 16 if ctype == "float" else 8
    width = next(w for w in (16, 8, 4, 2, 1) if w <= widest and channels % w == 0)
    product = Product(paths)
    write = Writer(product, channels, ctype, width).loop
    back, double = product.backward, product.double
    receive = {"x": "peer", "w": "edge", "y": "edge"}
    send = {"x": "node", "w": "edge", "y": "edge", "g": "peer"}
    tangents = {"vx": "node", "vw": "edge", "vy": "edge"}
    results = {"gx": "node", "gw": "edge", "gy": "edge"}
    functions = [
        write("forward", {**receive, "out": "node"}, {"out": product.forward}),
        write("backward", {**send, **results}, back),
        write(
            "double_senders",
            {**send, **tangents, **results},
            {name: double[name] for name in results},
        ),
        write(
            "double_receivers",
            {**receive, "vx": "peer", "vw": "edge", "vy": "edge", "gg": "node"},
            {"gg": double["gg"]},
        ),
    ]
    return HEADER.format(ctype=ctype, width=width) + "\n".join(functions)
