"""The series of the damped Coulomb energy is the energy itself."""

import numpy as np
import pytest
import torch

from equicalc.models.damped_coulomb import DampedCoulomb


@pytest.mark.parametrize("cutoff", [3.0, 9.0, 40.0])
def test_series_and_plain_energy_are_the_damped_one(cutoff):
    coulomb = DampedCoulomb(cutoff)
    r = torch.linspace(0.01, 1, 500, dtype=torch.float64) * cutoff
    at = 2 * r.numpy() / cutoff - 1
    series = np.polynomial.chebyshev.chebval(at, coulomb.series)
    assert series + 1 / r.numpy() == pytest.approx(coulomb(r).numpy(), abs=1e-11)
    at_zero = np.polynomial.chebyshev.chebval(-1.0, coulomb.series)
    assert at_zero == pytest.approx(coulomb.own, abs=1e-11)
