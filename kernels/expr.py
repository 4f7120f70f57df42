"""A small expression graph: polynomials and 1/sqrt, hash-consed, differentiable.

Equal expressions are one node, so that common subexpressions are found while a
formula is written down, and whatever the outputs do not need is never emitted.
Derivatives are expressions of the same graph: a backward pass is `Graph.vjp` of the
forward pass, a double backward pass is `Graph.vjp` of the backward pass.

Examples
--------
>>> graph = Graph()
>>> x, y = graph.input("x"), graph.input("y")
>>> energy = 3.0 * x * x * y
>>> graph.vjp([energy], [graph.const(1.0)], [x, y])
[mul(6.0, mul(x, y)), mul(3.0, mul(x, x))]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["RSQRT_GUARD", "Expr", "Graph", "Op"]

RSQRT_GUARD = 1e-24  # e3nn and torch normalise by max(|x|, 1e-12)

Op = Literal["input", "const", "add", "mul", "rsqrt"]


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Expr:
    """One node of a `Graph`; nodes are compared by identity.

    Attributes
    ----------
    graph
        The graph that owns the node.
    index
        Position in the graph; arguments have lower indices than their node.
    op
        What the node does.
    args
        Its arguments.
    value
        The number of a ``const``, the name of an ``input``, otherwise None.
    """

    graph: Graph
    index: int
    op: Op
    args: tuple[Expr, ...]
    value: float | str | None = None

    @property
    def number(self) -> float | None:
        """The value of a constant, None for every other node."""
        return self.value if isinstance(self.value, float) else None

    def __add__(self, other: Expr | float) -> Expr:
        return self.graph.add(self, other)

    def __mul__(self, other: Expr | float) -> Expr:
        return self.graph.mul(self, other)

    def __neg__(self) -> Expr:
        return self.graph.mul(-1.0, self)

    def __sub__(self, other: Expr | float) -> Expr:
        return self + -other

    __radd__ = __add__
    __rmul__ = __mul__

    def __repr__(self) -> str:
        if self.op in ("input", "const"):
            return str(self.value)
        return f"{self.op}({', '.join(map(repr, self.args))})"


class Graph:
    """Builds hash-consed expressions and differentiates them."""

    def __init__(self) -> None:
        self._nodes: dict[tuple, Expr] = {}
        self._partials: dict[Expr, Mapping[Expr, Expr]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def _node(self, op: Op, *args: Expr, value: float | str | None = None) -> Expr:
        key = (op, value, *(arg.index for arg in args))
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Expr(self, len(self._nodes), op, args, value)
        return node

    def _operand(self, operand: Expr | float) -> Expr:
        if not isinstance(operand, Expr):
            return self.const(operand)
        if operand.graph is not self:
            raise ValueError(
                "an expression of another graph was given; "
                "build both operands from the same Graph"
            )
        return operand

    def input(self, name: str) -> Expr:
        """Return the variable called `name`."""
        return self._node("input", value=name)

    def inputs(self, names: Sequence[str]) -> list[Expr]:
        """Return several variables: `inputs("xyz")`, `inputs(["g0", "g1"])`."""
        return [self.input(name) for name in names]

    def const(self, value: float) -> Expr:
        """Return the constant `value`."""
        return self._node("const", value=float(value))

    def add(self, a: Expr | float, b: Expr | float) -> Expr:
        """Return a + b, with constants folded."""
        a, b = self._operand(a), self._operand(b)
        if a.number is not None and b.number is not None:
            return self.const(a.number + b.number)
        if a.number == 0.0:
            return b
        if b.number == 0.0:
            return a
        if a is b:
            return self.mul(2.0, a)
        return self._node("add", *sorted((a, b), key=lambda e: e.index))

    def mul(self, a: Expr | float, b: Expr | float) -> Expr:
        """Return a * b, with constants folded and pulled to the front."""
        a, b = self._operand(a), self._operand(b)
        if a.number is None and b.number is not None:
            a, b = b, a
        if a.number is not None:
            return self._scale(a.number, b)
        for scaled, other in ((a, b), (b, a)):
            if scaled.op == "mul" and scaled.args[0].number is not None:
                return self.mul(scaled.args[0], self.mul(scaled.args[1], other))
        return self._node("mul", *sorted((a, b), key=lambda e: e.index))

    def _scale(self, factor: float, b: Expr) -> Expr:
        if b.number is not None:
            return self.const(factor * b.number)
        if factor == 0.0:
            return self.const(0.0)
        if factor == 1.0:
            return b
        if b.op == "mul" and b.args[0].number is not None:
            return self._scale(factor * b.args[0].number, b.args[1])
        return self._node("mul", self.const(factor), b)

    def rsqrt(self, a: Expr) -> Expr:
        """Return 1 / sqrt(max(a, 1e-24)), whose derivative ignores the guard."""
        return self._node("rsqrt", self._operand(a))

    def sum(self, terms: Sequence[Expr]) -> Expr:
        """Return the sum of the terms, from left to right; 0 when there are none."""
        total = self.const(0.0)
        for term in terms:
            total = total + term
        return total

    def define_partials(self, node: Expr, partials: Mapping[Expr, Expr]) -> None:
        """Give the derivatives of a node, where they are known and shorter.

        `vjp` uses them instead of the arguments': it goes from the node straight to
        those named here, so nodes in between have no share of this derivative.

        Parameters
        ----------
        node
            A sum, product or root.
        partials
            Of nodes that it is made of, the derivative for each.

        Raises
        ------
        ValueError
            For inputs and constants, and for a node's derivative for itself.
        """
        if not node.args or node in partials:
            raise ValueError(
                f"derivatives of {node} for {', '.join(map(repr, partials))} were "
                "given; give those of a sum, product or root for what it is made of"
            )
        self._partials[node] = partials

    def topological(self, outputs: Sequence[Expr]) -> list[Expr]:
        """Return the nodes the outputs need, every node after its arguments.

        The order is depth first from the first output, which keeps few values alive.
        """
        order: dict[Expr, None] = {}
        stack = list(reversed(outputs))
        while stack:
            node = stack[-1]
            missing = [arg for arg in node.args if arg not in order]
            if missing:
                stack.extend(reversed(missing))
            else:
                order.setdefault(stack.pop())
        return list(order)

    def ranked(self, outputs: Sequence[Expr], rank: Mapping[Expr, int]) -> list[Expr]:
        """Return the nodes the outputs need, those of low rank first.

        The rank of a node is the highest one of the inputs that it needs; inputs come
        when they are needed. Sums of terms of different ranks thus grow by and by, and
        few values are alive where few inputs of one rank are.
        """
        highest: dict[Expr, int] = {}
        for node in self.topological(outputs):
            below = (highest[arg] for arg in node.args)
            highest[node] = max(rank.get(node, -1), *below, -1)
        inner = sorted((node for node in highest if node.args), key=highest.__getitem__)
        return self.topological([*inner, *outputs])

    def vjp(
        self,
        outputs: Sequence[Expr],
        cotangents: Sequence[Expr],
        inputs: Sequence[Expr],
    ) -> list[Expr]:
        """Differentiate in reverse mode.

        Parameters
        ----------
        outputs
            Expressions y_k.
        cotangents
            Expressions g_k, one for each output.
        inputs
            Expressions x_i.

        Returns
        -------
        list of Expr
            For every input the expression sum_k g_k dy_k/dx_i. Inputs may be any
            nodes; they are held as independent of each other. Where partials were
            defined, only the nodes named there have a part in a derivative.
        """
        if len(outputs) != len(cotangents):
            raise ValueError(
                f"{len(outputs)} outputs and {len(cotangents)} cotangents were given; "
                "give one cotangent for each output"
            )
        order = self.topological(outputs)
        independent = set(inputs)
        active = set(inputs)
        for node in order:  # arguments come first, so one sweep marks all
            if active.intersection(self._partials.get(node, node.args)):
                active.add(node)
        gradient: dict[Expr, Expr] = {}

        def accumulate(node: Expr, term: Expr) -> None:
            if node in active:
                gradient[node] = gradient[node] + term if node in gradient else term

        for output, cotangent in zip(outputs, cotangents, strict=True):
            accumulate(output, cotangent)
        for node in reversed(order):
            if node not in gradient or node in independent:
                continue
            g = gradient[node]
            if node in self._partials:
                for arg, partial in self._partials[node].items():
                    accumulate(arg, g * partial)
                continue
            match node.op:
                case "add":
                    for arg in node.args:
                        accumulate(arg, g)
                case "mul":
                    a, b = node.args
                    accumulate(a, g * b)
                    accumulate(b, g * a)
                case "rsqrt":  # d s^(-1/2) = -1/2 s^(-3/2) ds
                    accumulate(node.args[0], -0.5 * (g * (node * (node * node))))
        return [gradient.get(node, self.const(0.0)) for node in inputs]
