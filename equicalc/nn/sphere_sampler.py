"""Drawing directions from the densities of `equicalc.nn.sphere`."""

from __future__ import annotations

import torch
from torch import Tensor

from equicalc.nn.draw import draw, draw_and_rest
from equicalc.nn.sphere_cells import Cells, SphereCells, parts_of, points_in
from equicalc.nn.sphere_loops import compiled_sphere
from equicalc.nn.sphere_source import LAST

#: Shares of all mass that a cell may have at most to be left whole, for drawing a term
#: and a cell.
TERM, CELL = 3e-2, 1e-2


class SphereSampler:
    """Draws directions from the densities of `SphereDensity`.

    A cell is drawn, then one of the parts that it was cut into, and so on; then one of
    64 parts of the last one, and a point in that. Log densities are large, the more so
    at low temperatures, and only their differences count: they are kept in double
    precision, so that no rounding moves a direction into the next cell.

    Parameters
    ----------
    cells : SphereCells
        Where densities are integrated.
    """

    def __init__(self, cells: SphereCells) -> None:
        self.cells = cells

    @torch.no_grad()
    def sample(
        self,
        coefficients: Tensor,
        uniform: Tensor,
        temperature: float = 1.0,
        by_term: bool = False,
    ) -> Tensor:
        """Return directions, (n, 3), in the precision of the coefficients.

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

        Raises
        ------
        ValueError
            If a density has coefficients that are not numbers, or no weight.
        """
        _check(coefficients)
        dtype = coefficients.dtype
        coefficients, uniform = coefficients.double(), uniform.double()
        if loops := compiled_sphere(self.cells, coefficients):
            drawn = loops.sample(
                coefficients, uniform, temperature, (TERM, CELL), by_term
            )
            return drawn.to(dtype)
        first, second = uniform[:, 0], uniform[:, 1]
        # 1. a term
        if by_term:
            shares = _masses(self.cells.cut(coefficients, share=TERM))[0].logsumexp(1)
            term, first = draw_and_rest(shares, first)
            row = torch.arange(len(term), device=term.device)
            coefficients = coefficients[row, :, term].unsqueeze(2)
        # 2. a cell
        levels = self.cells.cut(coefficients, temperature, CELL, each=True)
        cell, second = _descend(levels, first, second)
        # 3. a part of it
        parts, points, areas = parts_of(cell, LAST)
        harmonics = self.cells.harmonics(points.double())
        logits = (harmonics @ coefficients).logsumexp(2) / temperature
        part = draw(logits + areas.log(), second)
        # 4. a point in that
        chosen = parts[torch.arange(len(part), device=part.device), part]
        return points_in(chosen, uniform[:, 2:]).to(dtype)


def _check(coefficients: Tensor) -> None:
    """Raise unless all are finite; but of a sum, terms may be without weight."""
    weight, shape = coefficients[:, 0].amax(1), coefficients[:, 1:].sum((1, 2))
    (bad,) = (~(weight + 0 * shape).isfinite()).nonzero(as_tuple=True)
    if len(bad):
        raise ValueError(
            f"the density of row {int(bad[0])} of the coefficients ({len(bad)} of "
            f"{len(weight)} rows in all) cannot be drawn from: its coefficients must "
            "be finite, except that a_00 may be -inf for some of its terms"
        )


def _descend(
    levels: list[Cells], first: Tensor, second: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw whole cells with the first random numbers, their parts with the second.

    Returns
    -------
    cells, second
        (n, 2, 2), and what is left of the second random numbers, (n,).
    """
    masses = [mass.logsumexp(2) for mass in _masses(levels)]
    place = draw(masses[0], first)
    row = torch.arange(len(place), device=place.device)
    cells = levels[0].cells[row, place].clone()
    second = second.clone()
    child = levels[0].child[row, place]
    for level, mass in zip(levels[1:], masses[1:]):
        row, child = row[child >= 0], child[child >= 0]
        place, second[row] = draw_and_rest(mass[child], second[row])
        cells[row] = level.cells[child, place]
        child = level.child[child, place]
    return cells, second


def _masses(levels: list[Cells]) -> list[Tensor]:
    """Return log masses of all cells, (m, k, channels) a level: sums of their parts."""
    masses = [levels[-1].log_masses]
    for level in reversed(levels[:-1]):
        below = masses[0].logsumexp(1)  # (blocks of the next level, channels)
        cut = (level.child >= 0).unsqueeze(2)
        masses.insert(0, torch.where(cut, below[level.child], level.log_masses))
    return masses
