"""Write expressions as statements of C++, Triton or torch.

Three functions take the graph and the outputs and return ``(statements, results)``: the
lines that compute every intermediate value once, and for each output the text of an
expression (a variable or a literal) that holds it. Inputs appear under their names.

Examples
--------
>>> from equicalc.kernels.expr import Graph
>>> graph = Graph()
>>> x, y = graph.inputs("xy")
>>> cpp_statements(graph, [x * y + 2.0, x * y], "float")
(['const float t2 = x * y;', 'const float t4 = t2 + 2.0f;'], ['t4', 't2'])
>>> torch_statements(graph, [x + 3.0 * (x * y)])
(['t7 = torch.addcmul(x, x, y, value=3.0)'], ['t7'])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Literal, NamedTuple

from equicalc.kernels.expr import RSQRT_GUARD, Expr, Graph

__all__ = ["cpp_block", "cpp_statements", "torch_statements", "triton_statements"]

Statements = tuple[list[str], list[str]]

OPERATIONS = {"add": "{} + {}", "mul": "{} * {}"}


def cpp_statements(graph: Graph, outputs: Sequence[Expr], ctype: str) -> Statements:
    """Write C++ for values of type `ctype`, whose name begins with float or double."""
    lines, text = _statements(graph.topological(outputs), *_cpp(ctype))
    return lines, [text[output] for output in outputs]


def cpp_block(
    graph: Graph,
    loads: Mapping[Expr, str],
    stores: Mapping[Expr, Sequence[str]],
    rank: Mapping[Expr, int],
    ctype: str,
) -> list[str]:
    """Write C++ from memory to memory, in the order of `Graph.ranked`.

    Parameters
    ----------
    graph : Graph
        Of all expressions.
    loads : mapping
        For every input the line that defines it, written before its first use.
    stores : mapping
        For every output lines with a place for its value, written once it is there.
    rank : mapping
        Of inputs.
    ctype : str
        Of the values, see `cpp_statements`.
    """
    order = graph.ranked(list(stores), rank)
    return _statements(order, *_cpp(ctype), loads, stores)[0]


def triton_statements(graph: Graph, outputs: Sequence[Expr]) -> Statements:
    """Write Triton for blocks; literals stay inline and take the blocks' dtype."""
    rsqrt = f"tl.rsqrt(tl.maximum({{0}}, {RSQRT_GUARD!r}))"
    order = graph.topological(outputs)
    lines, text = _statements(order, repr, "{} = {}", rsqrt)
    return lines, [text[output] for output in outputs]


def _cpp(ctype: str) -> tuple[Callable[[float], str], str, str]:
    """Write literals, definitions and the inverse root in C++."""
    suffix = "f" if ctype.startswith("float") else ""

    def literal(value: float) -> str:
        return f"{value!r}{suffix}" if value >= 0 else f"({value!r}{suffix})"

    guard = literal(RSQRT_GUARD)
    rsqrt = f"{literal(1.0)} / std::sqrt({{0}} > {guard} ? {{0}} : {guard})"
    return literal, f"const {ctype} {{}} = {{}};", rsqrt


def _statements(
    order: Sequence[Expr],
    literal: Callable[[float], str],
    assign: str,
    rsqrt: str,
    loads: Mapping[Expr, str] = MappingProxyType({}),
    stores: Mapping[Expr, Sequence[str]] = MappingProxyType({}),
) -> tuple[list[str], dict[Expr, str]]:
    text: dict[Expr, str] = {}
    lines = []
    for node in order:
        args = [text[arg] for arg in node.args]
        match node.op:
            case "input":
                text[node] = str(node.value)
                lines += [loads[node]] if node in loads else []
            case "const":
                text[node] = literal(float(node.value or 0.0))
            case _:
                text[node] = f"t{node.index}"
                value = OPERATIONS.get(node.op, rsqrt).format(*args)
                lines.append(assign.format(text[node], value))
        lines += [line.format(text[node]) for line in stores.get(node, ())]
    return lines, text


def torch_statements(
    graph: Graph, outputs: Sequence[Expr], in_place: bool = False
) -> Statements:
    """Write torch for tensors, with fused multiply-adds.

    Every torch call is a pass over memory, so products that are used once are computed
    by the addition that uses them, and tensors are freed after their last use; or, if
    `in_place`, written over, which is faster and cannot be differentiated.
    Constants that stand alone are called ``c<index>``; the caller defines them, since
    torch multiplies by tensors of no dimension faster than by Python numbers.
    """
    order = graph.topological(outputs)
    products = _products_inside_sums(order, outputs)
    calls: dict[Expr, _Call] = {}
    for node in order:
        if node not in products and node.op not in ("input", "const"):
            calls[node] = _torch_call(node, products)
    last_use = {arg: node for node, call in calls.items() for arg in call.args}
    kept = set(outputs)
    lines = []
    for node, call in calls.items():
        done = {a for a in call.args if a in calls and last_use[a] is node} - kept
        names = sorted(map(_torch_name, done))
        line = f"{_torch_name(node)} = {call.text(done if in_place else set())}"
        lines.append(f"{line}; del {', '.join(names)}" if names else line)
    return lines, [_torch_name(output) for output in outputs]


class _Call(NamedTuple):
    """A function of torch, what it takes, and the text of its keyword, if any."""

    function: Literal["add", "mul", "addcmul", "rsqrt"]
    args: list[Expr]
    keyword: str = ""

    def text(self, free: Set[Expr]) -> str:
        """Write the call; over its first argument if that is `free`."""
        args = self.args
        if len(args) == 2 and not self.keyword and args[1] in free:  # it commutes
            args = args[::-1]
        first, *rest = [*map(_torch_name, args), *filter(None, [self.keyword])]
        if self.function == "rsqrt":
            return f"torch.rsqrt({first}.clamp_min({RSQRT_GUARD!r}))"
        if args[0] in free:
            return f"{first}.{self.function}_({', '.join(rest)})"
        return f"torch.{self.function}({', '.join([first, *rest])})"


def _torch_name(node: Expr) -> str:
    match node.op:
        case "input":
            return str(node.value)
        case "const":
            return f"c{node.index}"
    return f"t{node.index}"


def _products_inside_sums(
    order: Sequence[Expr], outputs: Sequence[Expr]
) -> dict[Expr, tuple[float, list[Expr]]]:
    """Products that their only user, a sum, computes: (factor, tensors to multiply)."""
    uses = Counter(arg for node in order for arg in node.args) + Counter(outputs)
    products: dict[Expr, tuple[float, list[Expr]]] = {}
    for node in order:
        if node.op != "add" or any(arg.number is not None for arg in node.args):
            continue
        for product in node.args:
            if product.op != "mul" or uses[product] > 1:
                continue
            factor, rest = product.args[0].number, product.args[1]
            if factor is None:
                products[product] = (1.0, list(product.args))
            elif rest.op == "mul" and uses[rest] == 1:
                products[product] = products[rest] = (factor, list(rest.args))
            else:
                products[product] = (factor, [rest])
            break
    return products


def _torch_call(node: Expr, products: dict[Expr, tuple[float, list[Expr]]]) -> _Call:
    a, *rest = node.args
    if node.op == "rsqrt":
        return _Call("rsqrt", [a])
    (b,) = rest
    if a in products and node.op == "add":
        a, b = b, a
    if node.op == "mul":
        return _Call("mul", [a, b])
    if b not in products:
        return _Call("add", [a, b])
    factor, tensors = products[b]
    if len(tensors) == 1:
        return _Call("add", [a, *tensors], f"alpha={factor!r}")
    value = "" if factor == 1.0 else f"value={factor!r}"
    return _Call("addcmul", [a, *tensors], value)
