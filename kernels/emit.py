"""Write expressions as statements of C++, Triton or torch.

All three take the graph and the outputs and return ``(statements, results)``: the
lines that compute every intermediate value once, and for each output the text of an
expression (a variable or a literal) that holds it. Inputs appear under their names.

Examples
--------
>>> from equicalc.kernels.expr import Graph
>>> graph = Graph()
>>> x, y = graph.inputs("xy")
>>> cpp_statements(graph, [x * y + 2.0, x * y], "float")
(['const float t2 = x * y;', 'const float t4 = t2 + 2.0f;'], ['t4', 't2'])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from .expr import Expr, Graph

__all__ = ["cpp_statements", "torch_statements", "triton_statements"]

Statements = tuple[list[str], list[str]]


def cpp_statements(graph: Graph, outputs: Sequence[Expr], ctype: str) -> Statements:
    """Write C++ for scalars of type `ctype` (``float`` or ``double``)."""
    suffix = "f" if ctype == "float" else ""

    def literal(value: float) -> str:
        return f"{value!r}{suffix}" if value >= 0 else f"({value!r}{suffix})"

    return _statements(
        graph,
        outputs,
        literal,
        f"const {ctype} {{}} = {{}};",
        f"{literal(1.0)} / std::sqrt({{}})",
    )


def triton_statements(graph: Graph, outputs: Sequence[Expr]) -> Statements:
    """Write Triton for blocks; literals stay inline, they take the blocks' dtype."""
    return _statements(graph, outputs, repr, "{} = {}", "tl.rsqrt({})")


def _statements(
    graph: Graph,
    outputs: Sequence[Expr],
    literal: Callable[[float], str],
    assign: str,
    rsqrt: str,
) -> Statements:
    text: dict[Expr, str] = {}
    lines = []
    for node in graph.topological(outputs):
        args = [text[arg] for arg in node.args]
        match node.op:
            case "input":
                text[node] = str(node.value)
                continue
            case "const":
                text[node] = literal(float(node.value or 0.0))
                continue
            case "add":
                value = f"{args[0]} + {args[1]}"
            case "mul":
                value = f"{args[0]} * {args[1]}"
            case "rsqrt":
                value = rsqrt.format(args[0])
        text[node] = f"t{node.index}"
        lines.append(assign.format(text[node], value))
    return lines, [text[output] for output in outputs]


def torch_statements(graph: Graph, outputs: Sequence[Expr]) -> Statements:
    """Write torch for tensors: fused multiply-adds, and values freed after their use."""
    raise NotImplementedError
