"""The compiled fully connected convolution against the same one in torch."""

import pytest
import torch

from equicalc.kernels.convolution import Adjacency, UVWConvolution
from equicalc.kernels.cpp import find_compiler
from equicalc.nn import uvw_loops
from equicalc.nn.uvw_conv import UVWConv

N_NODES, N_EDGES, HIDDEN = 7, 40, 9
CASES = [  # degrees in and out, channels in and out, parities count
    ((0,), (0, 1, 2), 8, 4, False),
    ((0, 1, 2), (0, 1, 2), 16, 32, False),
    ((0, 3, 4), (0, 3, 4), 4, 12, False),
    ((1,), (2, 1), 4, 4, True),
]


def case(ls_in, ls_out, c_in, c_out, chiral, dtype=torch.float64, n_edges=N_EDGES):
    """The convolution, its inputs and edges; the last node receives none."""
    torch.manual_seed(0)
    ls_edge = (0, 1, 2, 3, 4)
    conv = UVWConv(ls_in, ls_edge, ls_out, c_in, c_out, chiral)
    dst = torch.randint(0, N_NODES - 1, (n_edges,)).sort().values
    src = torch.randint(0, N_NODES, (n_edges,))
    shapes = (
        (N_NODES, conv.paths.n_in, c_in),
        (n_edges, conv.paths.n_edge),
        (n_edges, HIDDEN),
        (HIDDEN, conv.n_weights),
    )
    inputs = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    inputs[1].requires_grad_(False)
    return conv, inputs, Adjacency.from_edges(src, dst, N_NODES)


def in_torch(conv, inputs, adj):
    x, y, hidden, matrix = inputs
    return UVWConvolution.forward(conv, x, y, hidden, matrix, adj)


def derivatives(out, inputs, create_graph=False):
    """The output, and the gradients of a function of it."""
    inputs = [t for t in inputs if t.requires_grad]
    first = torch.autograd.grad(out.sin().sum(), inputs, create_graph=create_graph)
    if not create_graph:
        return [out, *first]
    scalar = torch.stack([t.sin().sum() for t in first]).sum()
    return [out, *first, *torch.autograd.grad(scalar, inputs)]


def compare(found, wanted, tolerance):
    for a, b in zip(found, wanted, strict=True):
        atol = tolerance * b.detach().abs().max().item()
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


def is_compiled(out):
    return "Compiled" in out.grad_fn.name()


@pytest.mark.skipif(find_compiler() is None, reason="no compiler")
class TestCompiled:
    @pytest.mark.parametrize("given", CASES)
    @pytest.mark.parametrize(
        ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)]
    )
    def test_values_and_gradients_are_those_of_torch(self, given, dtype, tolerance):
        conv, inputs, adj = case(*given, dtype=dtype)
        out = conv(*inputs, adj)
        assert is_compiled(out)
        wanted = derivatives(in_torch(conv, inputs, adj), inputs)
        compare(derivatives(out, inputs), wanted, tolerance)

    def test_second_derivatives_are_those_of_torch(self):
        conv, inputs, adj = case(*CASES[1])
        slow = in_torch(conv, inputs, adj)
        fast = conv(*inputs, adj)
        compare(derivatives(fast, inputs, True), derivatives(slow, inputs, True), 1e-12)

    def test_only_some_gradients_are_wanted(self):
        conv, inputs, adj = case(*CASES[1])
        for k in (0, 2):
            inputs[k].requires_grad_(False)
        slow = in_torch(conv, inputs, adj)
        fast = conv(*inputs, adj)
        compare(derivatives(fast, inputs, True), derivatives(slow, inputs, True), 1e-12)

    def test_matrix_gradient_of_several_parts(self):
        conv, inputs, adj = case(*CASES[0], n_edges=3 * uvw_loops.EDGES_PER_PART)
        wanted = derivatives(in_torch(conv, inputs, adj), inputs)
        compare(derivatives(conv(*inputs, adj), inputs), wanted, 1e-12)

    def test_same_bits_on_any_number_of_threads(self):
        conv, inputs, adj = case(*CASES[1], n_edges=3 * uvw_loops.EDGES_PER_PART)
        threads, results = torch.get_num_threads(), []
        try:
            for n in (1, 2):
                torch.set_num_threads(n)
                results.append(derivatives(conv(*inputs, adj), inputs))
        finally:
            torch.set_num_threads(threads)
        compare(results[0], results[1], 0)

    def test_arrays_need_not_be_contiguous(self):
        conv, inputs, adj = case(*CASES[1])
        turned = [t.detach().T.contiguous().T for t in inputs[1:]]
        out = conv(inputs[0], *turned[:2], inputs[3], adj)
        torch.testing.assert_close(out, conv(*inputs, adj))


def test_gradients_of_the_harmonics_are_left_to_torch():
    conv, inputs, adj = case(*CASES[1])
    inputs[1].requires_grad_()
    out = conv(*inputs, adj)
    assert not is_compiled(out)
    assert torch.autograd.grad(out.sum(), inputs[1])[0].any()


@pytest.mark.parametrize("c_in", [6, 3])
def test_channels_that_fill_no_vectors_are_left_to_torch(c_in):
    conv, inputs, adj = case((0, 1), (0, 1), c_in, 4, False)
    assert not is_compiled(conv(*inputs, adj))


def test_without_a_compiler(monkeypatch):
    monkeypatch.setattr(uvw_loops, "library", lambda *given: None)
    conv, inputs, adj = case(*CASES[0])
    assert not is_compiled(conv(*inputs, adj))


def test_no_edges():
    conv, inputs, adj = case(*CASES[1], n_edges=0)
    assert not conv(*inputs, adj).any()


@pytest.mark.parametrize("wrong", range(4))
def test_wrong_shapes_are_refused(wrong):
    conv, inputs, adj = case(*CASES[1])
    inputs[wrong] = inputs[wrong].detach()[:, :-1]
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        conv(*inputs, adj)
