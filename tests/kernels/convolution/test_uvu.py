"""The fused convolution against its definition, values and two derivatives deep."""

import pytest
import torch

from equicalc import o3
from equicalc.kernels import cpp
from equicalc.kernels.convolution import Adjacency, UVUConvolution, uvu_reference
from equicalc.kernels.convolution.ops import format_paths, library, uvu
from equicalc.kernels.convolution.paths import Degree

Degrees = tuple[Degree, ...]
BOTH = (0, (0, -1), (1, 1), 1)  # 0e, 0o, 1e, 1o
SHAPES: dict[str, tuple[Degrees, Degrees, Degrees]] = {
    "first layer": ((0,), (0, 1, 2), (0, 1, 2)),
    "middle layer": ((0, 1, 2), (0, 1, 2), (0, 1, 2)),
    "last layer": ((0, 1, 2), (0, 1, 2), (0,)),
    "gap in the degrees": ((0, 3), (0, 2, 3), (0, 2)),
    "both parities": (BOTH, (0, 1), BOTH),
    "rotations only": (((0, 1), (1, 1)), ((0, 1), (1, 1)), ((0, 1), (1, 1), (2, 1))),
}

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

needs_compiler = pytest.mark.skipif(
    cpp.find_compiler() is None, reason="no C++ compiler"
)


def random_case(
    ls_in, ls_edge, ls_out, channels, dtype=torch.float64, n_edges=40
) -> tuple[UVUConvolution, Inputs, Adjacency]:
    torch.manual_seed(0)
    n_nodes = 7  # the last two have no edges
    dst = torch.randint(0, n_nodes - 2, (n_edges,)).sort().values
    src = torch.randint(0, n_nodes - 2, (n_edges,))
    module = UVUConvolution(ls_in, ls_edge, ls_out)
    x = torch.randn(n_nodes, module.paths.n_in, channels, dtype=dtype)
    y = torch.randn(n_edges, module.paths.n_edge, dtype=dtype)
    w = torch.randn(n_edges, module.n_paths, channels, dtype=dtype)
    inputs = x.requires_grad_(), y.requires_grad_(), w.requires_grad_()
    return module, inputs, Adjacency.from_edges(src, dst, n_nodes)


def derivatives(function, inputs):
    """Value, first derivatives, and derivatives of a scalar of the first ones."""
    out = function(*inputs)
    g = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    g.requires_grad_()
    first = torch.autograd.grad(out, inputs, g, create_graph=True)
    scalar = torch.stack([(t.sin() * (i + 1)).sum() for i, t in enumerate(first)]).sum()
    second = torch.autograd.grad(scalar, [*inputs, g])
    return [out, *first, *second]


@needs_compiler
@pytest.mark.parametrize("channels", [16, 8, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_agrees_with_the_definition(shape, channels):
    module, inputs, adj = random_case(*SHAPES[shape], channels)
    assert library(module.paths, channels, torch.float64) is not None
    fused = derivatives(lambda x, y, w: module(x, y, w, adj), inputs)
    plain = derivatives(
        lambda x, y, w: uvu_reference(x, y, w, adj, module.paths), inputs
    )
    for a, b in zip(fused, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@needs_compiler
@pytest.mark.parametrize(
    ("shape", "channels", "hidden"),
    [("last layer", 16, 8), ("first layer", 3, 5), ("both parities", 8, 4)],
)
def test_weights_mixed_in_the_loop_agree_with_stored_ones(shape, channels, hidden):
    module, (x, y, _), adj = random_case(*SHAPES[shape], channels, n_edges=600)
    h = torch.randn(len(y), hidden, dtype=x.dtype, requires_grad=True)
    m = torch.randn(hidden, module.n_paths * channels, dtype=x.dtype).requires_grad_()

    def stored(x, y, h, m):
        w = (h @ m).unflatten(1, (-1, channels))
        return uvu_reference(x, y, w, adj, module.paths)

    def mixed(x, y, h, m):
        return module(x, y, h, adj, m)

    assert "UVU" in type(mixed(x, y, h, m).grad_fn).__name__.upper()
    pairs = (derivatives(f, (x, y, h, m)) for f in (mixed, stored))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    frozen = torch.autograd.grad(mixed(x, y, h, m.detach()).square().sum(), (x, y, h))
    usual = torch.autograd.grad(stored(x, y, h, m).square().sum(), (x, y, h))
    for a, b in zip(frozen, usual, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@needs_compiler
def test_many_hidden_features_are_mixed_in_inference_only():
    module, (x, y, _), adj = random_case(*SHAPES["first layer"], 4)
    h = torch.randn(len(y), 40, dtype=x.dtype)
    m = torch.randn(40, module.n_paths * 4, dtype=x.dtype)
    torch.testing.assert_close(
        module(x, y, h, adj, m), module(x, y, h, adj, m.clone().requires_grad_())
    )


@needs_compiler
def test_single_precision_agrees_to_its_rounding():
    module, inputs, adj = random_case(*SHAPES["middle layer"], 32, torch.float32)
    fused = derivatives(lambda x, y, w: module(x, y, w, adj), inputs)
    plain = derivatives(
        lambda x, y, w: uvu_reference(x, y, w, adj, module.paths), inputs
    )
    for a, b in zip(fused, plain, strict=True):
        torch.testing.assert_close(
            a, b, rtol=1e-4, atol=1e-4 * b.detach().abs().max().item()
        )


@needs_compiler
def test_no_edges():
    module, inputs, adj = random_case(*SHAPES["middle layer"], 16, n_edges=0)
    assert not module(*inputs, adj).any()


@needs_compiler
def test_inputs_need_not_be_contiguous():
    module, (x, y, w), adj = random_case(*SHAPES["middle layer"], 16)
    strided = [t.mT.contiguous().mT for t in (x, y.unsqueeze(0), w)]
    out = module(strided[0], strided[1][0], strided[2], adj)
    torch.testing.assert_close(out, module(x, y, w, adj))


@needs_compiler
def test_the_same_to_the_last_bit_every_time():
    module, inputs, adj = random_case(*SHAPES["middle layer"], 16, torch.float32)
    first = derivatives(lambda x, y, w: module(x, y, w, adj), inputs)
    again = derivatives(lambda x, y, w: module(x, y, w, adj), inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@needs_compiler
def test_operator_passes_torch_opcheck():
    module, inputs, adj = random_case(*SHAPES["first layer"], 4)
    arguments = (*inputs, None, list(adj.tensors()), format_paths(module.paths))
    torch.library.opcheck(uvu, arguments, test_utils=["test_schema", "test_faketensor"])


@pytest.mark.parametrize("inversion", [1, -1])
def test_equivariant_under_rotation_and_inversion(inversion):
    ls = (0, 1, 2, 3)
    module, (x, y, w), adj = random_case(ls, ls, ls, 4)
    rotation = o3.rand_matrix(dtype=torch.float64)

    def turn(features, degrees):
        blocks = features.split([2 * l + 1 for l in degrees], 1)
        angles = o3.matrix_to_angles(rotation)
        turned = [
            inversion**l * torch.einsum("mn,an...->am...", o3.wigner_D(l, *angles), b)
            for l, b in zip(degrees, blocks, strict=True)
        ]
        return torch.cat(turned, 1)

    per_component = []
    for l, n in zip(ls, module.paths_per_degree, strict=True):
        per_component += [l] * n
    out = module(x, y, w, adj)
    turned = module(turn(x, ls), turn(y, ls), w, adj)
    start = 0
    for l, n in zip(ls, module.paths_per_degree, strict=True):
        rows = slice(start, start + (2 * l + 1) * n)
        a = turn(out[:, rows].unflatten(1, (2 * l + 1, n)), [l])
        b = turned[:, rows].unflatten(1, (2 * l + 1, n))
        torch.testing.assert_close(a, b)
        start = rows.stop


def test_without_a_compiler_the_result_is_the_same(monkeypatch):
    module, inputs, adj = random_case(*SHAPES["middle layer"], 8)
    expected = module(*inputs, adj)
    name = "equicalc.kernels.convolution.module.has_library"
    monkeypatch.setattr(name, lambda *_: False)
    torch.testing.assert_close(module(*inputs, adj), expected)


def test_unsorted_edges_are_refused():
    with pytest.raises(ValueError, match="sorted by receiver"):
        Adjacency.from_edges(torch.tensor([0, 1]), torch.tensor([1, 0]), 2)


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize(
    "name", ["x", "flat x", "y", "w", "one w", "hidden", "matrix", "dtype", "integers"]
)
def test_arrays_that_do_not_fit_are_refused(name, backend):
    module, (x, y, w), adj = random_case(*SHAPES["first layer"], 8)
    module.backend = backend
    hidden, matrix = w[:, 0], torch.randn(8, module.n_paths * 8, dtype=w.dtype)
    wrong = {
        "x": (x[1:], y, w, adj),
        "flat x": (x.flatten(), y, w, adj),
        "y": (x, y[:, 1:], w, adj),
        "w": (x, y, torch.cat([w, w], 1), adj),
        "one w": (x, y, w[:, :, :1], adj),
        "hidden": (x, y, hidden[:, 1:], adj, matrix),
        "matrix": (x, y, hidden, adj, matrix[:, 1:]),
        "dtype": (x.float(), y, w, adj),
        "integers": (x.long(), y.long(), w.long(), adj),
    }
    with pytest.raises(ValueError, match=r"is needed|float32"):
        module(*wrong[name])


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_nothing_of_everything(backend):
    """No channels, no hidden features, no nodes."""
    module, (x, y, w), adj = random_case(*SHAPES["first layer"], 8)
    module.backend = backend
    assert module(x[:, :, :0], y, w[:, :, :0], adj).shape == (7, module.paths.rows, 0)
    matrix = torch.empty(0, module.n_paths * 8, dtype=w.dtype)
    assert not module(x, y, w[:, 0, :0], adj, matrix).any()
    none = Adjacency.from_edges(adj.src[:0], adj.dst[:0], 0)
    assert module(x[:0], y[:0], w[:0], none).shape == (0, module.paths.rows, 8)


def test_indices_may_be_of_any_integer_type():
    module, (x, y, w), adj = random_case(*SHAPES["first layer"], 8)
    short = Adjacency.from_edges(adj.src.int(), adj.dst.int(), len(x))
    torch.testing.assert_close(module(x, y, w, short), module(x, y, w, adj))


@pytest.mark.parametrize(("src", "dst"), [([0], [0, 1]), ([0, 1], [0]), ([[0]], [[0]])])
def test_ends_that_are_no_edges_are_refused(src, dst):
    with pytest.raises(ValueError, match="one of each is needed"):
        Adjacency.from_edges(torch.tensor(src), torch.tensor(dst), 2)


@pytest.mark.parametrize("edge", [(0, 2), (-1, 0), (2, 0)])
def test_edges_to_nodes_that_do_not_exist_are_refused(edge):
    src, dst = torch.tensor(edge)[:, None]
    with pytest.raises(ValueError, match="beyond the 2 nodes"):
        Adjacency.from_edges(src, dst, 2)


def test_degrees_that_cannot_couple_are_refused():
    with pytest.raises(ValueError, match="no path"):
        UVUConvolution([0], [1], [2])


def test_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="unknown backend"):
        UVUConvolution([0], [0], [0], backend="fortran")
