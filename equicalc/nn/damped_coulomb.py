"""Coulomb energies in lattices, damped so that a sum up to a cutoff converges."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["DAMPING", "DampedCoulomb"]

DAMPING = 0.25  # 1/Angstrom
MOST_TERMS, ROUNDING = 60, 1e-13  # the latter 1/Angstrom


class DampedCoulomb:
    """Damped 1/r with energies and forces shifted to zero at the cutoff [1]_, [2]_.

    Parameters
    ----------
    cutoff : float
        Angstrom.
    damping : float
        1/Angstrom.

    Attributes
    ----------
    energy, slope : float
        What is taken off at the cutoff: the damped 1/r there, 1/Angstrom, and minus its
        derivative, 1/Angstrom^2.
    own : float
        What it gives at zero less 1/r, 1/Angstrom.

    References
    ----------
    .. [1] D. Wolf et al., J. Chem. Phys. 110, 8254 (1999).
    .. [2] C. J. Fennell, J. D. Gezelter, J. Chem. Phys. 124, 234104 (2006).
    """

    def __init__(self, cutoff: float, damping: float = DAMPING) -> None:
        self.cutoff, self.damping = cutoff, damping
        x = damping * cutoff
        self._height = 2 * damping / math.sqrt(math.pi)  # of the Gaussian in the slope
        self.energy = math.erfc(x) / cutoff
        self.slope = (self.energy + self._height * math.exp(-x * x)) / cutoff
        self.own = -self._height - self.energy - self.slope * cutoff

    def __call__(self, r: Tensor) -> Tensor:
        """Evaluate at distances (Angstrom), 1/Angstrom."""
        return self._shifted(torch.erfc(self.damping * r) / r, r)

    def with_slope(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate with the derivative, 1/Angstrom^2; both are zero from the cutoff on.

        Parameters
        ----------
        r : (...), Angstrom
        """
        r = r.clamp(max=self.cutoff)
        damped = torch.erfc(self.damping * r) / r
        bell = self._height * torch.exp(-((self.damping * r) ** 2))
        return self._shifted(damped, r), self.slope - (damped + bell) / r

    def _shifted(self, damped: Tensor, r: Tensor) -> Tensor:
        return damped - self.energy + self.slope * (r - self.cutoff)

    @cached_property
    def series(self) -> NDArray[np.float64]:
        """What it gives less 1/r, as a Chebyshev series on [0, cutoff].

        Terms above `ROUNDING`; few, since the function is entire.
        """

        def added(u: NDArray[np.float64]) -> Any:  # stubs of numpy want a scalar
            r = 0.5 * (u + 1) * self.cutoff
            near = np.array([math.erf(self.damping * one) for one in r]) / r
            return self.slope * (r - self.cutoff) - self.energy - near

        terms = np.polynomial.chebyshev.chebinterpolate(added, MOST_TERMS)
        return terms[: np.flatnonzero(np.abs(terms) > ROUNDING)[-1] + 1].copy()
