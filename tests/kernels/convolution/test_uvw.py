"""The re-associated fully connected convolution against e3nn's, edge by edge."""

from typing import Any, cast

import pytest
import torch

from equicalc import o3
from equicalc.kernels.convolution import Adjacency, UVWConvolution, uvw

Degrees = tuple[int, ...]
SHAPES: list[tuple[Degrees, Degrees, Degrees]] = [
    ((0,), (0, 1, 2), (0, 1, 2)),
    ((0, 1, 2), (0, 1, 2), (0, 1, 2)),
    ((0, 3), (0, 3), (0, 3)),
]
N_NODES, HIDDEN, C_IN, C_OUT = 6, 5, 4, 3


def irreps(ls, channels):
    return o3.Irreps([(channels, (l, (-1) ** l)) for l in ls])


def to_e3nn(x, ls):
    """From components before channels to channels before components."""
    blocks = x.split([2 * l + 1 for l in ls], 1)
    return torch.cat([b.mT.flatten(1) for b in blocks], 1)


def from_e3nn(x, ls, channels):
    blocks = x.split([channels * (2 * l + 1) for l in ls], 1)
    return torch.cat([b.unflatten(1, (channels, -1)).mT for b in blocks], 1)


def naive(module, adj, x, y, hidden, matrix):
    """Weights for every edge, e3nn's tensor product, and a sum."""
    ls_in, ls_edge, ls_out = (
        module.paths.ls_in,
        module.paths.ls_edge,
        module.paths.ls_out,
    )
    from e3nn.o3 import FullyConnectedTensorProduct  # after the shim

    product = FullyConnectedTensorProduct(
        irreps(ls_in, C_IN),
        irreps(ls_edge, 1),
        irreps(ls_out, C_OUT),
        shared_weights=False,
    ).to(x.dtype)
    order = [
        module.paths.couplings.index(
            (ls_in[i.i_in1], ls_edge[i.i_in2], ls_out[i.i_out])
        )
        for i in cast("list[Any]", product.instructions)
    ]
    weights = (hidden @ matrix).unflatten(1, (-1, C_IN * C_OUT))[:, order].flatten(1)
    messages = product(to_e3nn(x, ls_in)[adj.src], y, weights)
    out = messages.new_zeros(len(x), messages.shape[1]).index_add(0, adj.dst, messages)
    return from_e3nn(out, ls_out, C_OUT)


def random_case(ls_in, ls_edge, ls_out, n_edges=30):
    torch.manual_seed(0)
    dst = torch.randint(0, N_NODES - 1, (n_edges,)).sort().values  # the last has none
    src = torch.randint(0, N_NODES, (n_edges,))
    module = UVWConvolution(ls_in, ls_edge, ls_out, C_IN, C_OUT)
    shapes = (
        (N_NODES, sum(2 * l + 1 for l in ls_in), C_IN),
        (n_edges, sum(2 * l + 1 for l in ls_edge)),
        (n_edges, HIDDEN),
        (HIDDEN, module.n_weights),
    )
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    return module, inputs, Adjacency.from_edges(src, dst, N_NODES)


def derivatives(function, inputs):
    """Value, first derivatives, and derivatives of a scalar of these."""
    out = function(*inputs)
    first = torch.autograd.grad(out.sin().sum(), inputs, create_graph=True)
    scalar = torch.stack([t.sin().sum() for t in first]).sum()
    return [out, *first, *torch.autograd.grad(scalar, inputs)]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("chunk", [1 << 21, 1])  # everything together; single nodes
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_e3nn_with_weights_per_edge(shape, chunk, monkeypatch):
    monkeypatch.setattr(uvw, "CHUNK_NUMBERS", chunk)
    module, inputs, adj = random_case(*shape)
    fast = derivatives(lambda *t: module(*t, adj), inputs)
    slow = derivatives(lambda *t: naive(module, adj, *t), inputs)
    for a, b in zip(fast, slow, strict=True):
        # e3nn keeps its coefficients in single precision
        atol = 1e-6 * b.detach().abs().max().item()
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


def test_no_edges():
    module, inputs, adj = random_case(*SHAPES[0], n_edges=0)
    assert not module(*inputs, adj).any()


def test_no_hidden_features():
    module, (x, y, hidden, matrix), adj = random_case(*SHAPES[0])
    assert not module(x, y, hidden[:, :0], matrix[:0], adj).any()


@pytest.mark.parametrize("array", range(4))
@pytest.mark.parametrize("dim", [0, 1])
def test_arrays_that_do_not_fit_are_refused(array, dim):
    module, inputs, adj = random_case(*SHAPES[1])
    wrong = [torch.cat([t, t], dim) if k == array else t for k, t in enumerate(inputs)]
    with pytest.raises(ValueError, match="is needed"):
        module(*wrong, adj)


def test_degrees_that_are_there_twice_are_refused():
    with pytest.raises(ValueError, match="twice"):
        UVWConvolution([0, 0], [0, 1], [0, 1], 4, 4)


def test_degrees_without_a_path_are_refused():
    with pytest.raises(ValueError, match="do not lead"):
        UVWConvolution([0], [0, 1], [0, 2], 4, 4)
