"""Features of both parities: couplings, signs and symmetry are those of e3nn."""

from typing import Any

import numpy as np
import pytest
import torch

from equicalc import o3
from equicalc.kernels.convolution import Adjacency, UVUConvolution

#: Features in, harmonics, features out; even harmonics are those of no parity at all.
CASES = {
    "both parities": ("0e+0o+1o+1e+2e+2o", "0e+1o+2e", "0e+0o+1o+1e+2e+2o"),
    "to pseudotensors": ("0e+1o+2e", "0e+1o+2e", "0o+1e+2o"),
    "rotations only": ("0e+1e+2e", "0e+1e+2e", "0e+1e+2e"),
    "any order": ("1e+0e+1o", "1o+0e", "2o+0o+1e+1o"),
}
CHANNELS = 3
EDGES = torch.tensor([[1, 2, 0, 2, 1], [0, 0, 1, 1, 2]])

Case = tuple[UVUConvolution, list[Any], tuple[torch.Tensor, ...], Adjacency]


def random_case(names: tuple[str, str, str], channels: int = CHANNELS) -> Case:
    torch.manual_seed(0)
    sides: list[Any] = [o3.Irreps(name) for name in names]
    ins, edge, outs = ([ir for _, ir in side] for side in sides)
    convolution = UVUConvolution(ins, edge, outs)
    n_edges = EDGES.shape[1]
    shapes = (3, sides[0].dim, channels), (n_edges, sides[1].dim)
    shapes = *shapes, (n_edges, convolution.n_paths, channels)
    inputs = tuple(
        torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes
    )
    return convolution, sides, inputs, Adjacency.from_edges(EDGES[0], EDGES[1], 3)


def irreps_of_paths(convolution, sides):
    """The irreps that every path couples."""
    lists = [[ir for _, ir in side] for side in sides]
    return [
        tuple(irreps[n] for irreps, n in zip(lists, place, strict=True))
        for place in convolution.paths.places
    ]


@pytest.mark.parametrize("names", CASES.values(), ids=CASES)
def test_paths_are_all_that_e3nn_allows(names):
    convolution, sides, _, _ = random_case(names)
    ins, edge, outs = ([ir for _, ir in side] for side in sides)
    allowed = [(a, b, c) for c in outs for a in ins for b in edge if c in a * b]
    assert irreps_of_paths(convolution, sides) == allowed
    odd = [sum(ir.l for ir in path) % 2 for path in allowed]
    assert any(odd)


@pytest.mark.parametrize("names", CASES.values(), ids=CASES)
def test_every_component_is_that_of_wigner_3j(names):
    convolution, sides, (x, y, w), adj = random_case(names)
    out = convolution(x, y, w, adj)
    paths, (irreps_in, irreps_edge, _) = convolution.paths, sides
    for p, (ir1, ir2, ir3) in enumerate(irreps_of_paths(convolution, sides)):
        a = x[:, irreps_in.slices()[paths.places[p][0]]][adj.src]
        b = y[:, irreps_edge.slices()[paths.places[p][1]]]
        C = o3.wigner_3j(ir1.l, ir2.l, ir3.l, dtype=torch.float64) * ir3.dim**0.5
        messages = torch.einsum("abc,eau,eb,eu->ecu", C, a, b, w[:, p])
        expected = torch.zeros_like(out[:, : ir3.dim]).index_add(0, adj.dst, messages)
        for component, row in enumerate(paths.row_of[p]):
            torch.testing.assert_close(out[:, row], expected[:, component])


@pytest.mark.parametrize("inversion", [1, -1])
@pytest.mark.parametrize("names", list(CASES.values())[:2], ids=list(CASES)[:2])
def test_equivariant_with_the_parities_that_were_given(names, inversion):
    convolution, sides, (x, y, w), adj = random_case(names)
    R = inversion * o3.rand_matrix(dtype=torch.float64)

    def turn(features, irreps):
        D = [o3.Irrep(ir).D_from_matrix(R) for ir in irreps]
        return torch.einsum("mn,an...->am...", torch.block_diag(*D), features)

    ins, edge, outs = ([ir for _, ir in side] for side in sides)
    turned = convolution(turn(x, ins), turn(y, edge), w, adj)
    out = convolution(x, y, w, adj)
    for place, rows in zip(convolution.paths.places, convolution.paths.row_of):
        expected = turn(out[:, list(rows)], [outs[place[2]]])
        torch.testing.assert_close(turned[:, list(rows)], expected)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_derivatives_are_those_of_finite_differences(backend):
    convolution, _, inputs, adj = random_case(("0e+0o+1e+1o", "0e+1o", "1e+0o"), 2)
    convolution.backend = backend

    def function(*arguments):
        return convolution(*arguments, adj)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


def test_a_pseudovector_of_two_vectors_is_their_cross_product():
    convolution = UVUConvolution([1], [1], [(1, 1)], "torch")
    adj = Adjacency.from_edges(torch.tensor([0]), torch.tensor([0]), 1)
    x, y = torch.randn(2, 3)
    out = convolution(x.view(1, 3, 1), y.view(1, 3), torch.ones(1, 1, 1), adj)
    scale = 0.5**0.5  # e3nn's: unit variance in, unit variance out
    torch.testing.assert_close(out.flatten(), scale * torch.linalg.cross(x, y))


def test_parities_that_forbid_every_path_are_refused():
    with pytest.raises(ValueError, match="no path couples 0e x 0e,1o -> 0o,1e"):
        UVUConvolution([0], [0, 1], [(0, -1), (1, 1)])


@pytest.mark.parametrize(
    "wrong", [-1, 1.0, "1o", (1, 0), (-1, 1), (1, 1, 1), o3.Irreps("8x1o")[0]], ids=repr
)
def test_what_is_no_degree_is_refused(wrong):
    with pytest.raises(ValueError, match="is no degree: give an integer"):
        UVUConvolution([wrong], [1], [0])


def test_degrees_may_be_integers_of_numpy():
    degrees: Any = np.arange(2)
    convolution = UVUConvolution(degrees, degrees, degrees)
    assert convolution.paths == UVUConvolution([0, 1], [0, 1], [0, 1]).paths
