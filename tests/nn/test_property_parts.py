"""Radial bases, gates and the kernel convolution of the property networks."""

import math

import pytest
import torch

from equicalc import o3
from equicalc.kernels import spherical_harmonics
from equicalc.kernels.convolution import Adjacency
from equicalc.nn.bases import radial_basis
from equicalc.nn.gate import NormGate, ScalarGate
from equicalc.nn.kernel_conv import KernelConv
from equicalc.nn.property_output import PropertyOutput


def test_cosine_humps_add_up_to_one():
    basis = radial_basis("cosine", 4.0, 9)
    inside = torch.linspace(0, 4, 50)
    torch.testing.assert_close(basis(inside).sum(1), torch.ones(50))
    assert basis(torch.tensor([basis.reach, 10.0])).max() < 1e-12


def test_gaussians_are_those_of_the_definition():
    basis, d = radial_basis("gaussian", 3.0, 4), torch.rand(7) * 4
    expected = torch.exp(-((d[:, None] - torch.tensor([0.0, 1, 2, 3])) ** 2))
    torch.testing.assert_close(basis(d), expected)
    assert basis(torch.tensor([basis.reach])).max() == pytest.approx(1e-4, rel=1e-3)


def test_a_basis_needs_a_name_and_two_centres():
    with pytest.raises(ValueError, match="choose cosine"):
        radial_basis("spline", 3.0, 4)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="at least 2"):
        radial_basis("cosine", 3.0, 1)


@pytest.mark.parametrize("chiral", [True, False])
def test_kernel_conv_is_the_sum_over_kernels(chiral):
    """Kernel by kernel and edge by edge, from the formula."""
    torch.manual_seed(0)
    channels_in, channels_out, n_nodes = (4, 3), (5, 2), 3
    conv = KernelConv(channels_in, channels_out, 6, [7], 2.0, chiral).double()
    src, dst = torch.tensor([1, 2, 0, 2, 0]), torch.tensor([0, 0, 1, 1, 2])
    vectors = torch.randn(5, 3, dtype=torch.float64)
    harmonics = spherical_harmonics([0, 1, 2], vectors, True, "component")
    basis = torch.randn(5, 6, dtype=torch.float64)
    features = [
        torch.randn(n_nodes, 2 * l + 1, c, dtype=torch.float64)
        for l, c in enumerate(channels_in)
    ]
    found = conv(features, harmonics, basis, Adjacency.from_edges(src, dst, n_nodes))
    expected = [
        torch.zeros(n_nodes, 2 * l + 1, c, dtype=torch.float64)
        for l, c in enumerate(channels_out)
    ]
    weights = conv.filters(basis).split(conv.n_weights, 1)
    for (l, k), w in zip(conv.pairs, weights):
        u, v = channels_out[k], channels_in[l]
        degrees = [
            f for f in range(abs(l - k), l + k + 1) if chiral or (l + k + f) % 2 == 0
        ]
        n = math.sqrt(4 * math.pi * (2 * k + 1) / (v * len(degrees) * 2))
        R = w.view(5, len(degrees), v, u)
        for path, f in enumerate(degrees):
            Y = harmonics[:, f**2 : (f + 1) ** 2] / math.sqrt(4 * math.pi)
            C = o3.wigner_3j(l, f, k, dtype=torch.float64)
            F = features[l][src]
            message = torch.einsum("evu,jki,ek,ejv->eiu", R[:, path], C, Y, F)
            expected[k].index_add_(0, dst, n * message / math.sqrt(2.0))
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b)


def test_gates_do_not_mix_components():
    x = [torch.randn(3, 1, 5), torch.randn(3, 3, 2)]
    turn = o3.rand_matrix()
    turned = [x[0], torch.einsum("ij,njc->nic", turn, x[1])]
    for gate in (ScalarGate(), NormGate()):
        out, other = gate(x), gate(turned)
        torch.testing.assert_close(other[0], out[0])
        expected = torch.einsum("ij,njc->nic", turn, out[1])
        torch.testing.assert_close(other[1], expected)


def test_large_references_keep_their_digits():
    output = PropertyOutput([[-1030.0123456789]], [1e-9], [1.0]).float()
    atoms = torch.zeros(9, dtype=torch.long)
    value = output(torch.zeros(9, 1), atoms, atoms).sum().item()
    assert value == pytest.approx(9 * (-1030.0123456789 + 1e-9), abs=1e-9)
