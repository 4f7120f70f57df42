"""Drawing directions from the densities of `equicalc.nn.sphere`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equicalc.nn.draw import draw, draw_and_rest
from equicalc.nn.sphere import SphereDensity


class SphereSampler(nn.Module):
    """Draws directions from the densities of `SphereDensity`.

    The sphere is cut into cells, nearly squares of one size. A cell is drawn, then one
    of 64 parts of it, then a point in that part. Log densities are large, the more so
    at low temperatures, and only their differences count: they are kept in double
    precision, so that no rounding moves a direction into the next cell.

    Parameters
    ----------
    density : SphereDensity or SphereSampler
        Defines the harmonics.
    n_rings : int
        Rings of cells; a cell is 180 / n_rings degrees wide.
    """

    #: Parts of a cell along each of its two directions.
    PARTS = 8

    cells: Tensor
    log_areas: Tensor
    cell_harmonics: Tensor

    def __init__(
        self, density: SphereDensity | SphereSampler, n_rings: int = 64
    ) -> None:
        super().__init__()
        self.harmonics = density.harmonics
        cells = sphere_cells(n_rings)
        self.register_buffer("cells", cells, False)
        self.register_buffer("log_areas", cells[..., 1].prod(1).log(), False)
        centres = points_in(cells, torch.tensor(0.5))
        self.register_buffer("cell_harmonics", self.harmonics(centres), False)

    def sample(
        self,
        coefficients: Tensor,
        uniform: Tensor,
        temperature: float = 1.0,
        by_term: bool = False,
    ) -> Tensor:
        """Return directions, (n, 3).

        Parameters
        ----------
        coefficients : (n, sum 2l+1, channels)
            One density p each, a sum of exponentials.
        uniform : (n, 4)
            Random numbers in [0, 1).
        temperature
            Draw from p^(1 / temperature), normalised.
        by_term
            Draw one of the exponentials, as often as its share of p says, then from
            it to the power 1 / temperature, normalised.
        """
        # 1. a cell
        coefficients = coefficients.double()
        logits = torch.einsum("nsc,gs->ngc", coefficients, self.cell_harmonics.double())
        rest = uniform[:, 0]
        if by_term:
            shares = (logits + self.log_areas.unsqueeze(1)).logsumexp(1)
            term, rest = draw_and_rest(shares, rest)
            row = torch.arange(len(term), device=term.device)
            logits, coefficients = (
                x[row, :, term].unsqueeze(2) for x in (logits, coefficients)
            )
        logits = logits.logsumexp(2)
        cell = self.cells[draw(logits / temperature + self.log_areas, rest)]
        # 2. a part of it
        steps = torch.arange(self.PARTS, device=cell.device)
        parts = torch.cartesian_prod(steps, steps)  # (64, 2)
        points = points_in(cell.unsqueeze(1), (parts + 0.5) / self.PARTS)
        logits = (self.harmonics(points).double() @ coefficients).logsumexp(2)
        part = draw(logits / temperature, uniform[:, 1])
        # 3. a point in that
        return points_in(cell, (parts[part] + uniform[:, 2:]) / self.PARTS)


def sphere_cells(n_rings: int) -> Tensor:
    """Cut the sphere into rings of one height and these into nearly square cells.

    Returns
    -------
    Tensor
        (n_cells, 2, 2): where z and phi begin, and their lengths. Areas are the
        products of the lengths.

    Examples
    --------
    >>> areas = sphere_cells(8)[..., 1].prod(1)
    >>> len(areas), areas.sum() / math.pi
    (82, tensor(4.0000))
    """
    theta = torch.linspace(0, math.pi, n_rings + 1, dtype=torch.float64)
    middle = 0.5 * (theta[1:] + theta[:-1])
    columns = (2 * n_rings * middle.sin()).round().long()
    ring = torch.repeat_interleave(columns)
    column = torch.arange(len(ring)) - (columns.cumsum(0) - columns)[ring]
    z, width = theta.cos(), 2 * math.pi / columns[ring]
    begin = torch.stack([z[ring + 1], column * width], 1)
    length = torch.stack([z[ring] - z[ring + 1], width], 1)
    return torch.stack([begin, length], 2).to(torch.get_default_dtype())


def points_in(cells: Tensor, inside: Tensor) -> Tensor:
    """Map places within cells, (..., 2) in [0, 1], to unit vectors (..., 3)."""
    z, phi = (cells[..., 0] + inside * cells[..., 1]).unbind(-1)
    radius = (1 - z.square()).clamp(min=0).sqrt()
    return torch.stack([radius * phi.cos(), radius * phi.sin(), z], -1)
