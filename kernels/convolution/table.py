"""Radial functions as cubic Hermite splines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RadialTable"]

SAMPLES = 512  # places where the fourth derivative is looked at
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

        The maximum of the fourth derivative is taken over 512 points, times 1.5.

        Parameters
        ----------
        function : callable
            Maps (n,) float64 distances to (n, n_functions), each row from its own
            distance; differentiable four times by autograd between start and stop.
        start, stop : float
            First and last knot.
        tolerance : float
            Largest error of a value, relative to the largest |f|, and of a slope,
            relative to the largest |f'|.
        dtype : torch.dtype
            Of the table; it is computed in double precision.
        """
        sampled = torch.linspace(start, stop, SAMPLES, dtype=torch.float64)
        f0, f1, _, _, f4 = derivatives(function, sampled, 4)
        largest = MARGIN * float(f4.abs().max())
        step = stop - start
        if largest > 0.0:
            value, slope = float(f0.abs().max()), float(f1.abs().max())
            step = min(
                step,
                (384.0 * tolerance * value / largest) ** (1 / 4),
                (216.0 / math.sqrt(3) * tolerance * slope / largest) ** (1 / 3),
            )
        n = math.ceil((stop - start) / step)
        knots = torch.linspace(start, stop, n + 1, dtype=torch.float64)
        value, slope = derivatives(function, knots, 1)
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

    def to(self, *args: torch.device | torch.dtype) -> RadialTable:
        """Return the table on another device or in another precision."""
        return RadialTable(self.grid.to(*args), self.coefficients.to(*args))

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


def derivatives(
    function: Callable[[Tensor], Tensor], r: Tensor, order: int
) -> list[Tensor]:
    """Return f, f', ... of functions whose rows depend on their own r only."""
    x = r.detach().clone().requires_grad_()
    nothing = 0.0 * x  # so that constants have derivatives, too
    columns = [[f + nothing] for f in function(x).unbind(1)]
    for column in columns:
        for _ in range(order):
            (slope,) = torch.autograd.grad(
                column[-1].sum(), x, create_graph=True, materialize_grads=True
            )
            column.append(slope + nothing)
    by_order = zip(*columns, strict=True)
    return [torch.stack(same, 1).detach() for same in by_order]
