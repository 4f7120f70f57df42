"""The uvu product and its derivatives in one expression graph, and the loops they need.

Per edge and channel the product is trilinear,

    out[k] = w[p] * sum_m x[m] B[m, k],    B[m, k] = sum_b C[m, b, k] y[b],

and B is the same for all channels: scalars, while x, w and out are vectors of channels.
The backward pass is the symbolic vjp of the forward pass, the double backward pass the
vjp of the backward pass. Sums over a node's edges are loops over compressed rows: by
receiver where the result belongs to receivers, by sender where it belongs to senders.
`loops` lists them; C++ and Triton are written from that list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from equicalc.kernels.expr import Expr, Graph

from .paths import Paths, coupling_tensor

__all__ = ["Loop", "Named", "Product", "loops"]

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
        n_paths = len(paths.couplings)
        count = {"x": paths.n_in, "w": n_paths, "g": paths.rows, "y": paths.n_edge}
        self.inputs: Named = {
            v + name: graph.inputs([f"{v}{name}{i}" for i in range(n)])
            for name, n in count.items()
            for v in ("", "v")
        }
        self.coupled: Named = {"b": [], "vb": []}  # B and its tangent, from y and vy
        self.names: Named = {"b": [], "vb": []}  # the same as inputs of channel loops
        self.coefficients: list[list[tuple[int, float]]] = []
        self.path: dict[Expr, int] = {}  # of the inputs that belong to one
        self.forward = [graph.const(0.0)] * paths.rows
        self._couple()
        self._differentiate()

    def _couple(self) -> None:
        """Write B and the forward pass."""
        x, w = self.inputs["x"], self.inputs["w"]
        for p, (l1, l2, l3) in enumerate(self.paths.couplings):
            rows = self.paths.row_of[p]
            mine = [w[p], self.inputs["vw"][p], *(self.inputs["g"][k] for k in rows)]
            self.path |= dict.fromkeys(mine, p)
            first_x, first_y = self.paths.offsets[p]
            C = coupling_tensor(l1, l2, l3)
            for k, row in enumerate(rows):
                terms = []
                for m in range(2 * l1 + 1):
                    column = C[m, :, k].tolist()
                    nonzero = [
                        (first_y + b, c) for b, c in enumerate(column) if abs(c) > 1e-12
                    ]
                    if nonzero:
                        terms.append(self._entry(nonzero, p) * x[first_x + m])
                self.forward[row] = w[p] * self.graph.sum(terms)

    def _entry(self, nonzero: list[tuple[int, float]], path: int) -> Expr:
        """Add one element of B; return it as an input of the channel loops."""
        for v in ("", "v"):
            y = self.inputs[v + "y"]
            self.coupled[v + "b"].append(self.graph.sum([c * y[b] for b, c in nonzero]))
            entry = self.graph.input(f"{v}b{len(self.names[v + 'b'])}")
            self.names[v + "b"].append(entry)
            self.path[entry] = path
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


@dataclass(frozen=True)
class Loop:
    """A loop over nodes and their edges.

    Attributes
    ----------
    name : str
        Of the function.
    where : dict
        For every array its row: ``node`` (the loop's), ``peer`` (the other end) or
        ``edge``; inputs first, outputs after. An output at ``node`` is summed over the
        edges; one called gy is summed over the channels.
    outputs : dict
        Expressions of the outputs.
    """

    name: str
    where: dict[str, str]
    outputs: Named


def loops(product: Product) -> list[Loop]:
    """Return the loops of the forward, backward and double backward pass.

    The ones that gather at receivers go over edges sorted by receiver, the others over
    edges sorted by sender.
    """
    receive = {"x": "peer", "w": "edge", "y": "edge"}
    send = {"x": "node", "w": "edge", "y": "edge", "g": "peer"}
    tangents = {"vw": "edge", "vy": "edge"}
    results = {"gx": "node", "gw": "edge", "gy": "edge"}
    double = {name: product.double[name] for name in results}
    return [
        Loop("forward", {**receive, "out": "node"}, {"out": product.forward}),
        Loop("backward", {**send, **results}, product.backward),
        Loop("double_senders", {**send, "vx": "node", **tangents, **results}, double),
        Loop(
            "double_receivers",
            {**receive, "vx": "peer", **tangents, "gg": "node"},
            {"gg": product.double["gg"]},
        ),
    ]
