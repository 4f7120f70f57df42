"""The sphere in cells, and these in parts wherever a density is sharp."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from equicalc.kernels import SphericalHarmonics

#: Parts that a cell is cut into along each of its two directions.
PARTS = 4
#: Whole cells in a ring at least.
FEWEST = 8
#: Largest curvature times squared width of smooth cells: whole ones, parts.
SMOOTH = 4.0, 2.0


@dataclass(frozen=True)
class Cells:
    """Blocks of k cells, the first level of which is the whole sphere.

    Attributes
    ----------
    row : (m,)
        Which density a block belongs to.
    cells : (m, k, 2, 2)
        See `sphere_cells`.
    harmonics : (m or 1, k, sum 2l+1)
        In a point of each.
    log_masses : (m, k, channels)
        Log of the integrals over the cells.
    child : (m, k)
        Block of the next level that a cell is cut into, or -1.
    """

    row: Tensor
    cells: Tensor
    harmonics: Tensor
    log_masses: Tensor
    child: Tensor

    def uncut_log_masses(self) -> Tensor:
        """Return the log masses, -inf of cells that are cut."""
        return self.log_masses.masked_fill((self.child >= 0).unsqueeze(2), -math.inf)


class _Tables(NamedTuple):
    """What is the same for all densities.

    Attributes
    ----------
    cells, harmonics, slopes
        Of the whole cells, see `sphere_cells` and `_slopes`.
    differences
        Of parts, see `_differences`.
    bends : (sum 2l+1,)
        l (l + 1) of every harmonic.
    """

    cells: Tensor
    harmonics: Tensor
    slopes: Tensor
    differences: Tensor
    bends: Tensor


class SphereCells:
    r"""Integrals of :math:`\sum_c \exp \sum_l a_{cl} \cdot Y_l(u)` over cells.

    A cell in which the density bends, and which may have much of its mass, is cut into
    sixteen, and so on. How much there may be is told by the slope: logarithms of
    peaks and ridges lie below their tangents.

    Parameters
    ----------
    harmonics : SphericalHarmonics
        Normalised by component.
    n_rings : int
        Rings of whole cells; a cell is 180 / n_rings degrees wide.
    depth : int
        How often cells are cut at most.
    """

    def __init__(
        self, harmonics: SphericalHarmonics, n_rings: int = 24, depth: int = 4
    ) -> None:
        self.harmonics = harmonics
        self.depth = depth
        self.width = math.pi / n_rings
        cells, points = sphere_cells(n_rings)
        l = torch.tensor([ir.l for _, ir in harmonics.irreps_out])
        l = l.repeat_interleave(2 * l + 1)
        self._tables = {
            torch.device("cpu"): _Tables(
                cells,
                harmonics(points),
                _slopes(harmonics, points),
                _differences(),
                (l * (l + 1)).to(points),
            )
        }

    @torch.no_grad()
    def cut(
        self, coefficients: Tensor, temperature: float = 1.0, share: float = 1e-3
    ) -> list[Cells]:
        """Return the cells, level by level.

        Parameters
        ----------
        coefficients : (n, sum 2l+1, channels)
            One density p each.
        temperature
            Of p^(1 / temperature); unless it is 1, masses are summed over channels.
        share
            Of all mass, that a cell may have at most to be left whole.
        """
        n = len(coefficients)
        tables = self._on(coefficients.device)
        curvature = _curvature(coefficients, tables.bends) / temperature
        # 1. whole cells
        harmonics = tables.harmonics.to(coefficients).unsqueeze(0)
        logits = harmonics @ coefficients
        south, east = (slope.to(coefficients) @ coefficients for slope in tables.slopes)
        rise = (south.square() + east.square()).sqrt() * (self.width / math.sqrt(2))
        cells = tables.cells.expand(n, -1, -1, -1)
        row, width = torch.arange(n, device=logits.device), self.width
        most = torch.full((n,), -math.inf).to(logits)
        levels = []
        for level in range(self.depth + 1):
            # 2. those that are to be cut
            areas = cells[..., 1].prod(-1).log().unsqueeze(2)
            masses = tempered(logits, temperature) + areas
            bound = (tempered(logits + rise, temperature) + areas).amax(2)
            most = torch.maximum(most, mass_per_row(masses, row, n))
            sharp = (curvature * width**2 > SMOOTH[level > 0]) & (level < self.depth)
            least = (most + math.log(share)).masked_fill(~sharp, math.inf)
            block, place = (bound > least[row].unsqueeze(1)).nonzero().T
            child = torch.full(cells.shape[:2], -1, device=row.device)
            child[block, place] = torch.arange(len(block), device=row.device)
            levels.append(Cells(row, cells, harmonics, masses, child))
            if not len(block):
                break
            # 3. their parts
            row, width = row[block], width / PARTS
            cells, points = parts_of(cells[block, place])
            harmonics = self.harmonics(points.to(coefficients))
            logits = harmonics @ coefficients[row]
            rise = (logits.mT @ tables.differences.to(logits)).abs()
            rise = (rise[..., : PARTS**2] + rise[..., PARTS**2 :]).mT
        return levels

    def _on(self, device: torch.device) -> _Tables:
        """Return the tables on a device."""
        if device not in self._tables:
            (first, *_) = self._tables.values()
            self._tables[device] = _Tables(*(table.to(device) for table in first))
        return self._tables[device]


def _curvature(coefficients: Tensor, bends: Tensor) -> Tensor:
    """Return the largest curvature that there may be, (n,)."""
    norms = torch.linalg.vector_norm(coefficients * bends.unsqueeze(1), dim=1)
    return norms.amax(1) * math.sqrt(len(bends))


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """Return logits (n, k, channels) of p^(1 / temperature), summed unless it is 1."""
    if temperature == 1:
        return logits
    one = logits if logits.shape[2] == 1 else logits.logsumexp(2, keepdim=True)
    return one / temperature


def mass_per_row(log_masses: Tensor, row: Tensor, n: int) -> Tensor:
    """Return the log of the sums of a row's blocks, (n,)."""
    blocks = log_masses.flatten(1).logsumexp(1)
    top = torch.full((n,), -math.inf).to(blocks).scatter_reduce(0, row, blocks, "amax")
    shift = top.nan_to_num(neginf=0.0)
    shifted = (blocks - shift[row]).exp()
    return shift + torch.zeros_like(top).index_add(0, row, shifted).log()


def _differences() -> Tensor:
    """Return what maps values of parts to half their differences, down and across."""
    one, along = torch.eye(PARTS), torch.gradient(torch.eye(PARTS), dim=0)[0]
    both = torch.cat([torch.kron(along, one), torch.kron(one, along)])
    return 0.5 * both.T.contiguous()


def _slopes(harmonics: SphericalHarmonics, points: Tensor) -> Tensor:
    """Return the slopes of all harmonics, (2, n_points, sum 2l+1): south, east."""
    x, step = points.double(), 1e-4
    phi = torch.atan2(x[:, 1], x[:, 0])
    east = torch.stack([-phi.sin(), phi.cos(), torch.zeros_like(phi)], 1)
    slopes = [
        (harmonics(x + step * way) - harmonics(x - step * way)) / (2 * step)
        for way in (torch.linalg.cross(east, x), east)
    ]
    return torch.stack(slopes).to(points)


def sphere_cells(n_rings: int) -> tuple[Tensor, Tensor]:
    """Cut the sphere into rings and these into nearly square cells.

    The points integrate smooth functions as those of a Gauss-Legendre product grid do:
    their heights are its, and there are the fewer in a ring the nearer it is to a pole.

    Returns
    -------
    cells, points
        (n_cells, 2, 2): where z and phi begin, and their lengths, the products of which
        are the areas; and a unit vector in each, (n_cells, 3).

    Examples
    --------
    >>> areas = sphere_cells(8)[0][..., 1].prod(1)
    >>> len(areas), areas.sum() / math.pi
    (96, tensor(4.0000))
    """
    begin, height, z = _intervals(n_rings)
    z, begin, height = 2 * z - 1, 2 * begin - 1, 2 * height
    columns = (2 * n_rings * (1 - z * z).sqrt()).round().long().clamp(min=FEWEST)
    ring = torch.repeat_interleave(columns)
    column = torch.arange(len(ring)) - (columns.cumsum(0) - columns)[ring]
    width = 2 * math.pi / columns[ring]
    begin = torch.stack([begin[ring], column * width], 1)
    length = torch.stack([height[ring], width], 1)
    points = _unit_vectors(torch.stack([z[ring], (column + 0.5) * width], 1))
    dtype = torch.get_default_dtype()
    return torch.stack([begin, length], 2).to(dtype), points.to(dtype)


def parts_of(cells: Tensor, n: int = PARTS) -> tuple[Tensor, Tensor]:
    """Cut cells (m, 2, 2) into n^2 parts by the weights of Gauss-Legendre.

    Returns
    -------
    parts, points
        (m, n^2, 2, 2), and the points of Gauss-Legendre, one in each, (m, n^2, 3).
    """
    begin, length = cells.unsqueeze(1).unbind(-1)
    starts, shares, places = (
        torch.cartesian_prod(x, x).to(cells) for x in _intervals(n)
    )
    parts = torch.stack([begin + starts * length, shares * length], -1)
    return parts, _unit_vectors(begin + places * length)


def points_in(cells: Tensor, inside: Tensor) -> Tensor:
    """Map places within cells, (..., 2) in [0, 1], to unit vectors (..., 3)."""
    return _unit_vectors(cells[..., 0] + inside * cells[..., 1])


def _intervals(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return where n intervals of [0, 1] begin, their lengths, and a place in each."""
    places, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(n))
    lengths = 0.5 * weights
    return lengths.cumsum(0) - lengths, lengths, 0.5 * (places + 1)


def _unit_vectors(z_phi: Tensor) -> Tensor:
    z, phi = z_phi.unbind(-1)
    radius = (1 - z.square()).clamp(min=0).sqrt()
    return torch.stack([radius * phi.cos(), radius * phi.sin(), z], -1)
