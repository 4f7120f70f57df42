"""The expression graph: sharing, folding and derivatives."""

import math
from types import SimpleNamespace

import pytest
import torch

from equicalc.kernels.emit import (
    cpp_block,
    cpp_statements,
    torch_statements,
    triton_statements,
)
from equicalc.kernels.expr import Graph


@pytest.fixture
def graph():
    return Graph()


def evaluate(expr, at):
    """The Triton of an expression is Python of numbers, too."""
    lines, [result] = triton_statements(expr.graph, [expr])
    tl = SimpleNamespace(rsqrt=lambda x: x**-0.5, maximum=max)
    names = {"tl": tl, **at}
    exec("\n".join(lines), names)
    return names[result]


def test_equal_expressions_are_one_node(graph):
    x, y = graph.inputs("xy")
    assert x * y + 1.0 is y * x + 1.0
    assert 2.0 * (x * 3.0) is 6.0 * x
    assert x + x is 2.0 * x


def test_constants_are_folded(graph):
    x = graph.input("x")
    assert (0.0 * x).number == 0.0
    assert (graph.const(2.0) * 3.0 - 1.0).number == 5.0
    assert 1.0 * x is x
    assert x + 0.0 is x


def test_only_what_the_outputs_need_is_emitted(graph):
    x, y = graph.inputs("xy")
    wanted, _ = x * y, graph.rsqrt(x + y)
    assert graph.topological([wanted]) == [x, y, wanted]


def test_earlier_outputs_are_a_prefix_of_more_outputs(graph):
    x, y = graph.inputs("xy")
    outputs = [x * y, x * y + 2.0, graph.rsqrt(x) * y]
    few, many = (triton_statements(graph, outputs[:k])[0] for k in (2, 3))
    assert many[: len(few)] == few


def test_derivatives_match_finite_differences(graph):
    x, y = graph.inputs("xy")
    f = graph.rsqrt(x * x + 2.0 * y) * (x * y * y) - 3.0 * x
    at = {"x": 0.7, "y": 1.3}
    gradient = graph.vjp([f], [graph.const(1.0)], [x, y])
    second = graph.vjp([gradient[0]], [graph.const(1.0)], [x, y])
    for order, derivatives in ((f, gradient), (gradient[0], second)):
        for name, derivative in zip("xy", derivatives, strict=True):
            h = 1e-5
            up = evaluate(order, {**at, name: at[name] + h})
            down = evaluate(order, {**at, name: at[name] - h})
            slope = (up - down) / (2 * h)
            assert evaluate(derivative, at) == pytest.approx(slope, 1e-8)


def test_inputs_of_a_derivative_are_held_independent(graph):
    x = graph.input("x")
    square = x * x
    by_x, by_square = graph.vjp([square * x], [graph.const(1.0)], [x, square])
    assert by_x is square
    assert by_square is x


def test_given_partials_stand_for_those_of_the_arguments(graph):
    x, y = graph.inputs("xy")
    cube = x * x * x
    square = x * x
    graph.define_partials(cube, {x: 3.0 * square})
    (slope,) = graph.vjp([cube * y], [graph.const(1.0)], [x])
    assert slope is y * (3.0 * square)
    (curvature,) = graph.vjp([slope], [graph.const(1.0)], [x])
    assert evaluate(curvature, {"x": 0.7, "y": 1.3}) == pytest.approx(6 * 0.7 * 1.3)


def test_partials_of_an_input_or_for_the_node_itself_are_refused(graph):
    x, y = graph.inputs("xy")
    for node, partials in ((x, {y: y}), (x * y, {x * y: x})):
        with pytest.raises(ValueError, match="what it is made of"):
            graph.define_partials(node, partials)


def test_deep_graphs_do_not_recurse(graph):
    x = graph.input("x")
    total = x
    for k in range(5000):
        total = total * x + float(k)
    assert math.isfinite(evaluate(total, {"x": 0.1}))


def test_expressions_of_two_graphs_do_not_mix(graph):
    with pytest.raises(ValueError, match="another graph"):
        graph.add(graph.input("x"), Graph().input("x"))


def test_every_output_needs_a_cotangent(graph):
    x = graph.input("x")
    with pytest.raises(ValueError, match="one cotangent for each output"):
        graph.vjp([x, x * x], [x], [x])


def test_single_precision_literals_are_single(graph):
    x = graph.input("x")
    lines, _ = cpp_statements(graph, [0.1 * x - 2.0], "float")
    assert lines == ["const float t2 = 0.1f * x;", "const float t4 = t2 + (-2.0f);"]


def test_torch_frees_tensors_after_their_last_use(graph):
    x, y = graph.inputs("xy")
    square = x * y
    lines, (result,) = torch_statements(graph, [square * square])
    assert lines[-1] == f"{result} = torch.mul(t2, t2); del t2"


def test_torch_writes_over_what_is_done_with(graph):
    x, y = inputs = graph.inputs("xy")
    shared = x + y
    used = shared * x
    outputs = [used + 2.0 * (shared * y), graph.rsqrt(used) + shared, used * y, used]
    at = dict(zip("xy", torch.rand(2, 5, dtype=torch.float64)))
    numbers = [n for n in graph.topological(outputs) if n.number is not None]
    at |= {f"c{n.index}": torch.tensor(n.number) for n in numbers}
    results = []
    for in_place in (False, True):
        lines, names = torch_statements(graph, [*outputs, *inputs], in_place)
        assert in_place == any("_(" in line for line in lines)
        namespace = {"torch": torch, **{name: t.clone() for name, t in at.items()}}
        exec("\n".join(lines), namespace)
        results.append(torch.stack([namespace[name] for name in names]))
    torch.testing.assert_close(*results)
    torch.testing.assert_close(
        results[1][-2:], torch.stack([at[name] for name in "xy"])
    )


def test_ranked_order_needs_inputs_of_one_rank_at_a_time(graph):
    inputs = graph.inputs(["x", "a0", "b0", "a1", "b1"])
    x, a0, b0, a1, b1 = inputs
    total = a0 * b0 * x + a1 * b1 * x
    order = graph.ranked([total, a1], dict(zip(inputs, [-1, 0, 0, 1, 1])))
    assert set(order) == set(graph.topological([total, a1]))
    place = {node: k for k, node in enumerate(order)}
    assert all(place[arg] < place[node] for node in order for arg in node.args)
    assert max(place[a0], place[b0], place[a0 * b0 * x]) < min(place[a1], place[b1])


def test_a_block_loads_before_and_stores_after(graph):
    x, y = graph.inputs("xy")
    loads = {x: "const float x = from[0];", y: "const float y = from[1];"}
    stores = {x * x: ["to[0] = {};"], y: ["to[1] = {};", "to[2] = {};"]}
    assert cpp_block(graph, loads, stores, {x: 0, y: 1}, "float") == [
        loads[x],
        f"const float t{(x * x).index} = x * x;",
        f"to[0] = t{(x * x).index};",
        loads[y],
        "to[1] = y;",
        "to[2] = y;",
    ]
