"""Layers of scalars and vectors turn with the vectors, and mix no nodes."""

import pytest
import torch

from equicalc.kernels.convolution import Adjacency
from equicalc.nn.radial import BesselBasis, EnvelopedGaussians
from equicalc.nn.vector_conv import VectorConvolution
from equicalc.nn.vectors import (
    EMLP,
    AugmentedSoftmax,
    Scalariser,
    VectorActivation,
    normalised,
)

N, C = 5, 8


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    s = torch.randn(N, C, generator=generator, dtype=torch.float64)
    return s, torch.randn(N, 3, C, generator=generator, dtype=torch.float64)


def turns():
    """A rotation, and one with an inversion."""
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(matrix).Q
    return [rotation, -rotation]  # one of them inverts


@pytest.mark.parametrize("turn", turns())
def test_layers_turn_with_the_vectors(features, turn):
    s, v = features
    torch.manual_seed(0)
    layers = EMLP(C, 2).double()
    turned_s, turned_v = layers(s, turn @ v)
    plain_s, plain_v = layers(s, v)
    torch.testing.assert_close(turned_s, plain_s)
    torch.testing.assert_close(turned_v, turn @ plain_v)


@pytest.mark.parametrize("turn", turns())
def test_invariants_do_not_turn(features, turn):
    torch.manual_seed(0)
    scalarise = Scalariser(C, 6).double()
    torch.testing.assert_close(scalarise(turn @ features[1]), scalarise(features[1]))


def test_invariants_see_angles(features):
    """Lengths alone cannot tell vectors that were turned one by one."""
    v = features[1].clone()
    torch.manual_seed(0)
    scalarise = Scalariser(C, 6).double()
    before = scalarise(v)
    v[:, :, 0] = v[:, :, 0].roll(1, 1)
    assert (scalarise(v) - before).abs().max() > 1e-3


def test_activation_bends_along_its_axis_only(features):
    torch.manual_seed(0)
    activation = VectorActivation(C).double()
    mixed, axis = activation.linear(features[1]).chunk(2, 2)
    change = activation(features[1]) - mixed
    assert change.norm(dim=1).min() > 0
    across = torch.linalg.cross(change, axis, dim=1)
    assert across.norm(dim=1).max() < 1e-10
    # a vector along its axis meets gelu of its length
    p = (mixed * axis).sum(1) / axis.norm(dim=1)
    after = ((mixed + change) * axis).sum(1) / axis.norm(dim=1)
    expected = torch.nn.functional.gelu(p)
    torch.testing.assert_close(after, expected, atol=1e-3, rtol=1e-3)


def test_normalised_vectors_keep_directions_and_ratios(features):
    v = features[1]
    out = normalised(v)
    ratio = out / v
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio))
    torch.testing.assert_close(
        out.square().sum(1).mean(1), torch.ones(N).double(), atol=1e-5, rtol=1e-5
    )
    assert not normalised(torch.zeros(1, 3, C)).any()


def test_gradients_at_no_vector_are_finite():
    v = torch.zeros(1, 3, C, requires_grad=True)
    s, out = EMLP(C, 2)(torch.zeros(1, C), v)
    (s.sum() + out.square().sum()).backward()
    assert v.grad is not None
    assert v.grad.isfinite().all()


def test_sum_is_that_of_each_graph_alone(features):
    logits, v = features
    aggregate = AugmentedSoftmax(C).double()
    both = aggregate(v, logits, torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 2, 5]))
    first = torch.zeros(3, dtype=torch.int64)
    alone = aggregate(v[2:], logits[2:], first, torch.tensor([0, 3]))
    torch.testing.assert_close(both[1:], alone)
    assert both.shape == (2, 3, C)


def test_softmax_picks_the_longest_or_the_likeliest(features):
    """Of a large beta or of large logits, one node is left."""
    logits, v = features
    batch, ptr = torch.zeros(N, dtype=torch.int64), torch.tensor([0, N])
    aggregate = AugmentedSoftmax(C).double()
    with torch.no_grad():
        aggregate.beta.fill_(1e3)
    channels = torch.arange(C)
    longest = v[v.norm(dim=1).argmax(0), :, channels].T
    torch.testing.assert_close(aggregate(v, 0 * logits, batch, ptr)[0], longest)
    likeliest = v[logits.argmax(0), :, channels].T
    torch.testing.assert_close(aggregate(v, 1e6 * logits, batch, ptr)[0], likeliest)


@pytest.mark.parametrize("turn", turns())
def test_messages_turn_and_do_not_depend_on_order(features, turn):
    s, v = features
    torch.manual_seed(0)
    convolution = VectorConvolution(C, 4, 6, scale=0.5, backend="torch").double()
    dst, src = (~torch.eye(N, dtype=torch.bool)).nonzero().T
    adj = Adjacency.from_edges(src, dst, N)
    basis = torch.rand(N, N, 6, dtype=torch.float64)
    basis = basis + basis.transpose(0, 1)
    weights = torch.rand(N, N, dtype=torch.float64)
    plain = convolution(s, v, adj, basis[dst, src], weights[dst, src])
    turned = convolution(s, turn @ v, adj, basis[dst, src], weights[dst, src])
    torch.testing.assert_close(turned[0], plain[0])
    torch.testing.assert_close(turned[1], turn @ plain[1])
    order = torch.randperm(N)
    shuffled = convolution(
        s[order], v[order], adj, basis[order[dst], order[src]],
        weights[order[dst], order[src]],
    )  # fmt: skip
    torch.testing.assert_close(shuffled[1], plain[1][order])


def test_messages_end_at_the_cutoff(features):
    s, v = features
    torch.manual_seed(0)
    convolution = VectorConvolution(C, 4, 6, scale=0.5, backend="torch").double()
    adj = Adjacency.from_edges(torch.tensor([1]), torch.tensor([0]), N)
    out = convolution(s, v, adj, torch.ones(1, 6).double(), torch.zeros(1).double())
    nobody = torch.zeros(0, dtype=torch.int64)
    lonely = Adjacency.from_edges(nobody, nobody, N)
    none = convolution(s, v, lonely, torch.ones(0, 6).double(), torch.ones(0).double())
    torch.testing.assert_close(out[0], none[0])
    torch.testing.assert_close(out[1], none[1])


@pytest.mark.parametrize("basis", [EnvelopedGaussians(3.0, 50), BesselBasis(3.0, 50)])
def test_radial_functions_tell_distances_apart_and_end(basis):
    d = torch.linspace(0.7, 2.7, 21)
    values = basis(d)
    assert values.shape == (21, 50)
    assert torch.pdist(values).min() > 1e-2
    assert not basis(torch.tensor([3.0, 5.0])).any()
