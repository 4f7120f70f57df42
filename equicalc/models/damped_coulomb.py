"""Coulomb energies in lattices, damped so that a sum up to a cutoff converges."""

from __future__ import annotations

import math
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

    References
    ----------
    .. [1] D. Wolf et al., J. Chem. Phys. 110, 8254 (1999).
    .. [2] C. J. Fennell, J. D. Gezelter, J. Chem. Phys. 124, 234104 (2006).
    """

    def __init__(self, cutoff: float) -> None:
        self.cutoff = cutoff
        x = DAMPING * cutoff
        self.energy = math.erfc(x) / cutoff
        bell = 2 * DAMPING / math.sqrt(math.pi) * math.exp(-x * x)
        self.slope = (self.energy + bell) / cutoff
        #: What it gives at zero less 1/r, 1/Angstrom.
        self.own = -2 * DAMPING / math.sqrt(math.pi) - self.energy - self.slope * cutoff
        #: The same at any distance as a Chebyshev series on [0, cutoff].
        self.series = self._series()

    def __call__(self, r: Tensor) -> Tensor:
        """Evaluate at distances (Angstrom), 1/Angstrom."""
        return (
            torch.erfc(DAMPING * r) / r - self.energy + self.slope * (r - self.cutoff)
        )

    def _series(self) -> NDArray[np.float64]:
        """Terms above `ROUNDING`; few, since the function is entire."""

        def added(u: NDArray[np.float64]) -> Any:  # stubs of numpy want a scalar
            r = 0.5 * (u + 1) * self.cutoff
            near = np.array([math.erf(DAMPING * one) for one in r]) / r
            return self.slope * (r - self.cutoff) - self.energy - near

        terms = np.polynomial.chebyshev.chebinterpolate(added, MOST_TERMS)
        return terms[: np.flatnonzero(np.abs(terms) > ROUNDING)[-1] + 1].copy()
