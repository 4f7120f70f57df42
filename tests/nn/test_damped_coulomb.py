"""The series of the damped Coulomb energy is the energy itself."""

import numpy as np
import pytest
import torch

from equicalc.nn.damped_coulomb import DampedCoulomb


@pytest.mark.parametrize("cutoff", [3.0, 9.0, 40.0])
def test_series_and_plain_energy_are_the_damped_one(cutoff):
    coulomb = DampedCoulomb(cutoff)
    r = torch.linspace(0.01, 1, 500, dtype=torch.float64) * cutoff
    at = 2 * r.numpy() / cutoff - 1
    series = np.polynomial.chebyshev.chebval(at, coulomb.series)
    assert series + 1 / r.numpy() == pytest.approx(coulomb(r).numpy(), abs=1e-11)
    at_zero = np.polynomial.chebyshev.chebval(-1.0, coulomb.series)
    assert at_zero == pytest.approx(coulomb.own, abs=1e-11)


@pytest.mark.parametrize("damping", [0.1, 0.2, 0.4])
def test_slope_is_the_derivative_and_nothing_is_beyond_the_cutoff(damping):
    coulomb = DampedCoulomb(9.0, damping)
    r = torch.linspace(0.5, 8.9, 50, dtype=torch.float64, requires_grad=True)
    energy, slope = coulomb.with_slope(r)
    torch.testing.assert_close(energy, coulomb(r), rtol=0, atol=0)
    (wanted,) = torch.autograd.grad(energy.sum(), r)
    torch.testing.assert_close(slope, wanted)
    for value in coulomb.with_slope(torch.tensor([9.0, 12.0], dtype=torch.float64)):
        torch.testing.assert_close(value, torch.zeros(2, dtype=torch.float64))
