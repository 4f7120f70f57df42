"""Compiled sums over images are those of torch, and fall back to it."""

import pytest
import torch

from equicalc.kernels import cpp
from equicalc.models import radial_sums
from equicalc.models.radial_sums import Pairs, RadialSums
from equicalc.nn.damped_coulomb import DampedCoulomb
from equicalc.nn.radial import BesselBasis

SIZE, N_BLOCKS, N_IMAGES, N_PAIRS = 5, 4, 3, 400  # two crystals of two molecules
N_ATOMS = N_BLOCKS * SIZE
ADD_UP = RadialSums(DampedCoulomb(9.0), switch=0.8, core=1.0, reach=5.5, n_radial=6)

compiles = pytest.mark.skipif(
    cpp.find_compiler() is None, reason="there is no C++ compiler"
)


def pairs(dtype, n=N_PAIRS):
    torch.manual_seed(0)
    vectors = 2.5 + 1.5 * torch.randn(n, 3, dtype=dtype)
    seats = torch.arange(SIZE).repeat(N_BLOCKS)
    block = torch.arange(N_BLOCKS).repeat_interleave(SIZE)
    damped, dst = block % 2 == 0, torch.randint(N_ATOMS, (n,))
    length = vectors.norm(dim=1, keepdim=True)  # those of crystals are in the cutoff
    within = vectors * (ADD_UP.coulomb.cutoff / length).clamp(max=1)
    vectors = torch.where(damped[dst].unsqueeze(1), within, vectors)
    return Pairs(
        vectors=vectors,
        dst=dst,
        src=torch.randint(N_ATOMS, (n,)),
        image=torch.randint(N_IMAGES, (n,)),
        rotations=torch.randn(N_IMAGES, 3, 3, dtype=dtype),
        rows=block * SIZE * SIZE + seats,
        columns=seats * SIZE,
        seats=seats,
        damped=damped,
    )


@compiles
@pytest.mark.parametrize("n", [0, 1, N_PAIRS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_sums_are_those_of_torch(dtype, n):
    given = pairs(dtype, n)
    expected = ADD_UP.in_torch(given, N_BLOCKS, SIZE)
    for made, known in zip(ADD_UP(given, N_BLOCKS, SIZE), expected):
        torch.testing.assert_close(made, known)


def test_radial_functions_are_those_of_the_bessel_basis():
    given = pairs(torch.float64)
    first, n = torch.zeros(N_PAIRS, dtype=torch.int64), N_PAIRS  # a block for each pair
    apart = given._replace(
        dst=torch.arange(n), src=first, rows=torch.arange(n), columns=first
    )
    apart = apart._replace(seats=first, damped=first.bool())
    made = ADD_UP(apart, n, 1)
    r = given.vectors.norm(dim=1)
    basis = BesselBasis(ADD_UP.reach, ADD_UP.n_radial).double()(r)
    torch.testing.assert_close(made.waves[:, 0, 0], basis, atol=1e-5, rtol=0)
    direction = (given.vectors / r[:, None]).unsqueeze(2)
    for found, vectors in [
        (made.towards, direction),
        (made.back, given.rotations[given.image] @ direction),
    ]:
        expected = vectors * basis.unsqueeze(1)
        torch.testing.assert_close(found[:, 0, :, 0], expected, atol=1e-5, rtol=0)


def test_gradients_are_there_when_asked_for():
    given = pairs(torch.float64, 30)

    def total(vectors):
        made = ADD_UP(given._replace(vectors=vectors), N_BLOCKS, SIZE)
        return torch.stack([part.sum() for part in made]).sum()

    assert torch.autograd.gradcheck(total, given.vectors.requires_grad_())
    with torch.no_grad():
        assert not total(given.vectors).requires_grad


def test_nothing_is_lost_without_a_compiler(monkeypatch):
    expected = ADD_UP(pairs(torch.float64), N_BLOCKS, SIZE)
    monkeypatch.setattr(radial_sums, "_library", lambda *_: None)
    for made, known in zip(ADD_UP(pairs(torch.float64), N_BLOCKS, SIZE), expected):
        torch.testing.assert_close(made, known)
