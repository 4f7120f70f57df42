"""Compiled sums over images are those of torch, and fall back to it."""

import pytest
import torch

from equicalc.kernels import cpp
from equicalc.models import radial_sums
from equicalc.models.radial_sums import Pairs, RadialSums
from equicalc.nn.radial import BesselBasis

N_ATOMS, N_IMAGES, N_BINS, N_PAIRS = 5, 3, 12, 400
ADD_UP = RadialSums(cutoff=9.0, switch=0.8, core=1.0, reach=5.5, n_radial=6)

compiles = pytest.mark.skipif(
    cpp.find_compiler() is None, reason="there is no C++ compiler"
)


def pairs(dtype, n=N_PAIRS):
    torch.manual_seed(0)
    vectors = 2.5 + 1.5 * torch.randn(n, 3, dtype=dtype)
    return Pairs(
        vectors=vectors,
        distance=vectors.norm(dim=1),
        inverse=torch.rand(n, dtype=dtype),
        bins=torch.randint(N_BINS, (n,)),
        dst=torch.randint(N_ATOMS, (n,)),
        image=torch.randint(N_IMAGES, (n,)),
        rotations=torch.randn(N_IMAGES, 3, 3, dtype=dtype),
    )


@compiles
@pytest.mark.parametrize("n", [0, 1, N_PAIRS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_sums_are_those_of_torch(dtype, n):
    given = pairs(dtype, n)
    expected = ADD_UP.in_torch(given, N_ATOMS, N_BINS)
    for made, known in zip(ADD_UP(given, N_ATOMS, N_BINS), expected):
        torch.testing.assert_close(made, known)


def test_radial_functions_are_those_of_the_bessel_basis():
    given = pairs(torch.float64)._replace(bins=torch.arange(N_PAIRS))
    made = ADD_UP(given, N_ATOMS, N_PAIRS)
    r = given.distance
    basis = BesselBasis(ADD_UP.reach, ADD_UP.n_radial).double()(r)
    torch.testing.assert_close(made.waves[:, 0], basis, atol=1e-5, rtol=0)
    turned = given.rotations[given.image] @ (given.vectors / r[:, None]).unsqueeze(2)
    expected = turned * basis.unsqueeze(1)
    torch.testing.assert_close(made.waves[:, 4:], expected, atol=1e-5, rtol=0)


def test_gradients_are_there_when_asked_for():
    given = pairs(torch.float64, 30)

    def total(vectors):
        followed = given._replace(vectors=vectors, distance=vectors.norm(dim=1))
        made = ADD_UP(followed, N_ATOMS, N_BINS)
        return torch.stack([part.sum() for part in made]).sum()

    assert torch.autograd.gradcheck(total, given.vectors.requires_grad_())
    with torch.no_grad():
        assert not total(given.vectors).requires_grad


def test_nothing_is_lost_without_a_compiler(monkeypatch):
    expected = ADD_UP(pairs(torch.float64), N_ATOMS, N_BINS)
    monkeypatch.setattr(radial_sums, "_library", lambda *_: None)
    for made, known in zip(ADD_UP(pairs(torch.float64), N_ATOMS, N_BINS), expected):
        torch.testing.assert_close(made, known)
