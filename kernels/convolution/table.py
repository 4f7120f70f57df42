"""Radial functions as cubic Hermite splines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RadialTable"]

SAMPLES = 2048  # places whose slopes tell the fourth derivative
MARGIN = 1.5  # between these, it may be larger


@dataclass(frozen=True)
class RadialTable:
    r"""Values and slopes of functions f(r) on equidistant knots, and what lies between.

    Between two knots at distance h the cubic polynomial with the same values and slopes
    differs from f by at most

    .. math::
        |f - p| \le \frac{h^4}{384} \max |f''''|, \qquad
        |f' - p'| \le \frac{\sqrt{3} h^3}{216} \max |f''''|,

    and it is continuous with its derivative at the knots, so that energies made from it
    are conserved by forces made from it. Rounding comes on top, about 1e-7 of the
    largest value in single precision. Below the first knot the first polynomial goes
    on; beyond the last knot the last value stays, with slope zero: let f vanish there.

    Attributes
    ----------
    grid : Tensor
        (3,) first knot, last knot, number of intervals.
    coefficients : Tensor
        (n_intervals, 4, n_functions) of the powers of (r - knot) / h: a slope made of
        these is as exact as a value, however near the knots are to each other.

    References
    ----------
    .. [1] Birkhoff and Priver, J. Math. Phys. 46, 440 (1967): the bounds.

    Examples
    --------
    >>> def waves(r):
    ...     return torch.sin(r.unsqueeze(1) * torch.tensor([1.0, 2.0]))
    >>> table = RadialTable.build(waves, 0.0, torch.pi, tolerance=1e-6)
    >>> r = torch.rand(100) * torch.pi
    >>> bool((table(r)[0] - waves(r)).abs().max() < 2e-6)
    True
    """

    grid: Tensor
    coefficients: Tensor

    @classmethod
    def build(
        cls,
        function: Callable[[Tensor], Tensor],
        start: float,
        stop: float,
        tolerance: float,
        dtype: torch.dtype = torch.float32,
    ) -> RadialTable:
        """Tabulate with as many knots as the error bounds ask for.

        The maximum of the fourth derivative is that of third differences of the slopes
        at 2048 points, times 1.5.

        Parameters
        ----------
        function : callable
            Maps (n,) float64 distances to (n, n_functions), each row from its own
            distance; differentiable in forward mode between start and stop.
        start, stop : float
            First and last knot.
        tolerance : float
            Largest error of a value, relative to the largest |f|, and of a slope,
            relative to the largest |f'|.
        dtype : torch.dtype
            Of the table; it is computed in double precision.

        Raises
        ------
        ValueError
            For no interval, no positive tolerance, or a function that is not finite.
        """
        if not (start < stop and tolerance > 0):
            raise ValueError(f"no table from {start} to {stop} is exact to {tolerance}")
        sampled = torch.linspace(start, stop, SAMPLES, dtype=torch.float64)
        value, slope = value_and_slope(function, sampled)
        if value.dim() != 2 or not (value + slope).isfinite().all():
            raise ValueError("values and slopes must be finite and (n, n_functions)")
        fourth = slope.diff(n=3, dim=0) * ((SAMPLES - 1) / (stop - start)) ** 3
        largest = MARGIN * float(fourth.abs().max())
        step = stop - start
        if largest > 0.0:
            highest, steepest = float(value.abs().max()), float(slope.abs().max())
            step = min(
                step,
                (384.0 * tolerance * highest / largest) ** (1 / 4),
                (216.0 / math.sqrt(3) * tolerance * steepest / largest) ** (1 / 3),
            )
        n = math.ceil((stop - start) / step)
        knots = torch.linspace(start, stop, n + 1, dtype=torch.float64)
        value, slope = value_and_slope(function, knots)
        return cls.through(start, stop, value, slope, dtype)

    @classmethod
    def through(
        cls, start: float, stop: float, value: Tensor, slope: Tensor, dtype: torch.dtype
    ) -> RadialTable:
        """Make the table of values and slopes at knots, (n_knots, n_functions) each."""
        n = len(value) - 1
        slope = slope * ((stop - start) / n)
        change, first, last = value.diff(dim=0), slope[:-1], slope[1:]
        second, third = 3 * change - 2 * first - last, first + last - 2 * change
        coefficients = torch.stack([value[:-1], first, second, third], 1)
        grid = torch.tensor([start, stop, n], dtype=dtype)
        return cls(grid, coefficients.to(dtype))

    def mixed(self, matrix: Tensor) -> RadialTable:
        """Return the table of what a matrix makes of the functions: f(r) @ matrix."""
        mixed = self.coefficients @ matrix.to(self.coefficients)
        return RadialTable(self.grid, mixed)

    def to(self, dtype: torch.dtype) -> RadialTable:
        """Return the table in another precision."""
        return RadialTable(self.grid.to(dtype), self.coefficients.to(dtype))

    def __call__(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Interpolate.

        Parameters
        ----------
        r : Tensor
            (n,) distances.

        Returns
        -------
        tuple of Tensor
            Values and derivatives, both (n, n_functions).
        """
        start, stop, n = self.grid
        scale = n / (stop - start)
        s = (r.clamp(max=stop) - start) * scale
        knot = s.long().clamp(0, len(self.coefficients) - 1)
        t = (s - knot).unsqueeze(1)
        c0, c1, c2, c3 = self.coefficients[knot].unbind(1)
        value = c0 + t * (c1 + t * (c2 + t * c3))
        slope = c1 + t * (2 * c2 + 3 * t * c3)
        return value, slope * (scale * (r < stop)).unsqueeze(1)


def value_and_slope(
    function: Callable[[Tensor], Tensor], r: Tensor
) -> tuple[Tensor, Tensor]:
    """Return f and f' of functions whose rows depend on their own r only.

    Forwards: n numbers go in, many more come out.
    """
    found = torch.func.jvp(function, (r,), (torch.ones_like(r),))
    return found[0].detach(), found[1].detach()
