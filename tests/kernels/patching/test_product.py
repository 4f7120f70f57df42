"""The fused product against e3nn's product and a sum over edges."""

import pytest
import torch

from equicalc import o3
from equicalc.kernels.patching.product import FusedProduct

EVEN = [
    (0, 0, 0, "uvu", True),
    (1, 1, 1, "uvu", True),
    (0, 1, 2, "uvu", True),
    (1, 0, 3, "uvu", True),
]
NODES, EDGE, OUT = "4x0e + 4x1o", "0e + 1o", "4x0e + 4x0e + 4x1o + 4x1o"
EDGES = torch.tensor([[0, 0, 1, 2, 2, 3, 0], [1, 2, 0, 0, 3, 2, 3]])


def product(nodes=NODES, edge=EDGE, out=OUT, paths=EVEN, **settings):
    settings = {"shared_weights": False, **settings}
    return o3.TensorProduct(nodes, edge, out, paths, **settings).double()


@pytest.mark.parametrize("edges", [EDGES, EDGES.flip(1), EDGES[:, :0]])
@pytest.mark.parametrize("paths", [EVEN, EVEN[::-1]])
@pytest.mark.parametrize("normalization", ["component", "norm"])
def test_same_as_a_product_and_a_sum(edges, paths, normalization):
    reference = product(paths=paths, irrep_normalization=normalization)
    x = torch.randn(5, 16, dtype=torch.float64)
    y = torch.randn(edges.shape[1], 4, dtype=torch.float64)
    w = torch.randn(edges.shape[1], 16, dtype=torch.float64)
    messages = reference(x[edges[0]], y, w)
    expected = x.new_zeros(5, messages.shape[1]).index_add(0, edges[1], messages)
    torch.testing.assert_close(FusedProduct(reference)(x, y, w, edges), expected)


ONE = [(0, 0, 0, "uvu", True)]
UNSUITABLE = {
    "mode uvw": product(paths=[(0, 0, 0, "uvw", True)], out="4x0e"),
    "for every edge": product(paths=ONE, out="4x0e", shared_weights=True),
    "several channels": product(edge="2x0e", paths=ONE, out="4x0e"),
    "same number of channels": product(nodes="4x0e + 2x1o", paths=ONE, out="4x0e"),
    "not all": product(paths=[EVEN[0], (0, 1, 1, "uvu", True)], out="4x0e + 4x1o"),
    "every block": product(
        out="4x0e + 4x1o + 4x1o",
        paths=[EVEN[0], (1, 1, 0, "uvu", True), (0, 1, 1, "uvu", True)],
    ),
    "sorted by": product(
        out="4x0e + 4x1o + 4x0e + 4x1o",
        paths=[(i, j, k, *rest) for (i, j, _, *rest), k in zip(EVEN, [0, 2, 1, 3])],
    ),
}


@pytest.mark.parametrize("reason", UNSUITABLE)
def test_unsuitable_products_are_refused_with_a_reason(reason):
    with pytest.raises(ValueError, match=reason):
        FusedProduct(UNSUITABLE[reason])
