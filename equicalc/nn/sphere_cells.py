"""The sphere in cells, and these in parts wherever a density is sharp."""

from __future__ import annotations

import functools
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
#: Share of a whole cell that is left whole, of that of a part.
WHOLE = 0.1
#: Share of all mass that a part may have at most to be left whole.
SHARE = 3e-3


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


class Tables(NamedTuple):
    """What is the same for all densities.

    Attributes
    ----------
    cells, log_areas, harmonics, slopes
        Of the whole cells, see `sphere_cells` and `_slopes`.
    changes
        Of parts, see `_change_table`.
    bends : (sum 2l+1,)
        l (l + 1) of every harmonic.
    """

    cells: Tensor
    log_areas: Tensor
    harmonics: Tensor
    slopes: Tensor
    changes: Tensor
    bends: Tensor


class SphereCells:
    r"""Integrals of :math:`\sum_c \exp \sum_l a_{cl} \cdot Y_l(u)` over cells.

    A cell in which the density bends, and which may have much of its mass, is cut into
    sixteen, and so on. How much there may be is told by the slope: logarithms of
    peaks and ridges lie below their tangents. Sixteen parts have together the mass that
    Gauss-Legendre gives; where some of them are cut, the others have that of an
    exponential with their slope, since the errors of points no longer cancel.

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
        cells, points, areas = sphere_cells(n_rings)
        l = torch.tensor([ir.l for _, ir in harmonics.irreps_out])
        l = l.repeat_interleave(2 * l + 1)
        self._tables = {
            (points.device, points.dtype): Tables(
                cells,
                areas.log(),
                harmonics(points),
                _slopes(harmonics, points),
                _change_table(),
                (l * (l + 1)).to(points),
            )
        }

    @torch.no_grad()
    def cut(
        self,
        coefficients: Tensor,
        temperature: float = 1.0,
        share: float = SHARE,
        each: bool = False,
    ) -> list[Cells]:
        """Return the cells, level by level.

        Parameters
        ----------
        coefficients : (n, sum 2l+1, channels)
            One density p each.
        temperature
            Of p^(1 / temperature); unless it is 1, masses are summed over channels.
        share
            Of all mass, that a part may have at most to be left whole.
        each
            Whether every part has its own mass, for drawing; otherwise only the sums of
            parts are right where none of them is cut.
        """
        n = len(coefficients)
        tables = self.tables(coefficients)
        curvature = _curvature(coefficients, tables.bends) / temperature
        # 1. whole cells
        cells = tables.cells.expand(n, -1, -1, -1)
        log_areas = tables.log_areas.expand(n, -1)
        harmonics = tables.harmonics.unsqueeze(0)
        logits = harmonics @ coefficients
        row, width = torch.arange(n, device=logits.device), self.width
        most = torch.full((n,), -math.inf).to(logits)
        levels = []
        for level in range(self.depth + 1):
            masses = tempered(logits, temperature) + log_areas.unsqueeze(2)
            child = torch.full(cells.shape[:2], -1, device=row.device)
            levels.append(Cells(row, cells, harmonics, masses, child))
            # 2. blocks of densities that are sharp for them
            limit = SMOOTH[level > 0]
            sharp = (curvature * width**2 > limit) & (level < self.depth)
            (block,) = sharp[row].nonzero(as_tuple=True)
            if not len(block) and not (each and level):
                break
            owner = row[block]
            most = torch.maximum(most, mass_per_row(masses[block], owner, n))
            # 3. masses of single parts, and how much there may be
            if level:
                chosen = torch.arange(len(row), device=row.device) if each else block
                rise, gain = _changes(logits[chosen], tables.changes, temperature)
                gained = tempered(logits[chosen] + gain, temperature)
                own = areas_of(cells[chosen]).log().to(logits).unsqueeze(2)
                masses[chosen] = gained + own
                rise = rise[block] if each else rise
            else:
                south, east = (slope @ coefficients[block] for slope in tables.slopes)
                rise = (south.square() + east.square()).sqrt().nan_to_num()
                rise = rise * (self.width / math.sqrt(2))
            if not len(block):
                break
            # 4. those of their cells that may have much mass
            bound = tempered(logits[block] + rise, temperature).amax(2)
            least = most[owner] + math.log(share if level else WHOLE * share)
            which, place = (bound + log_areas[block] > least.unsqueeze(1)).nonzero().T
            block = block[which]
            child[block, place] = torch.arange(len(block), device=row.device)
            if not len(block):
                break
            # 5. parts of these
            row, width = row[block], width / PARTS
            cells, points, areas = parts_of(cells[block, place])
            log_areas = areas.log().to(logits)
            harmonics = self.harmonics(points.to(logits))
            logits = harmonics @ coefficients[row]
        return levels

    def tables(self, like: Tensor) -> Tables:
        """Return the tables, cells aside, in the precision and on the device of."""
        key = like.device, like.dtype
        if key not in self._tables:
            first = next(iter(self._tables.values()))
            cells, *others = (table.to(like.device) for table in first)
            self._tables[key] = Tables(cells, *(table.to(like) for table in others))
        return self._tables[key]


def _curvature(coefficients: Tensor, bends: Tensor) -> Tensor:
    """Return the largest curvature that there may be, (n,)."""
    bent = (coefficients * bends.unsqueeze(1)).nan_to_num()
    norms = torch.linalg.vector_norm(bent, dim=1)
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


def _changes(
    logits: Tensor, table: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    r"""Return how much more logits (m, PARTS^2, channels) of parts are elsewhere there.

    Returns
    -------
    rise, gain
        At most, and in the log of the mean. Of slopes that is
        :math:`\log (\sinh x / x)`, which :math:`\sqrt{9 + x^2} - 3` is within 0.1 of up
        to an x of 4, half the difference between two sides.
    """
    changes = (logits.mT @ table).nan_to_num().mT  # 0 of densities without weight
    down, across, bend = changes.split(PARTS**2, 1)
    three = 3 * temperature
    gain = bend + sum((x.square() + three**2).sqrt() for x in (down, across))
    return down.abs() + across.abs(), gain - 2 * three


def _change_table() -> Tensor:
    """Return what maps values of parts to three changes, (PARTS^2, 3 PARTS^2).

    Half the differences between their sides, down and across, and from the value in the
    point to the mean, all of the polynomial through the values.
    """
    begin, length, place = (x.unsqueeze(1) for x in intervals(PARTS))
    power = torch.arange(PARTS)
    through = torch.linalg.inv(place**power)  # values to coefficients
    end = begin + length
    along = 0.5 * (end**power - begin**power) @ through
    power = power + 1
    mean = (end**power - begin**power) / (power * length) @ through
    one = torch.eye(PARTS).to(mean)
    bend = torch.kron(mean, mean) - torch.kron(one, one)
    changes = [torch.kron(along, one), torch.kron(one, along), bend]
    return torch.cat(changes).T.contiguous()


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


def sphere_cells(n_rings: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut the sphere into rings and these into nearly square cells.

    The points integrate smooth functions as those of a Gauss-Legendre product grid do:
    their heights are its, and there are the fewer in a ring the nearer it is to a pole.

    Returns
    -------
    cells, points, areas
        (n_cells, 2, 2): where theta and phi begin, and their lengths; a unit vector in
        each, (n_cells, 3); and (n_cells,) in steradian. In double precision.

    Examples
    --------
    >>> areas = sphere_cells(8)[2]
    >>> len(areas), (areas.sum() / math.pi).round(decimals=6)
    (96, tensor(4., dtype=torch.float64))
    """
    begin, height, place = intervals(n_rings)
    radius = 2 * (place * (1 - place)).sqrt()
    columns = (2 * n_rings * radius).round().long().clamp(min=FEWEST)
    ring = torch.repeat_interleave(columns)
    column = torch.arange(len(ring)) - (columns.cumsum(0) - columns)[ring]
    width = 2 * math.pi / columns[ring].double()
    theta, end = (2 * x.clamp(0, 1).sqrt().asin() for x in (begin, begin + height))
    cells = torch.stack(
        [
            torch.stack([theta[ring], column * width], 1),
            torch.stack([(end - theta)[ring], width], 1),
        ],
        2,
    )
    points = _unit_vectors(place[ring], (column + 0.5) * width)
    return cells, points, 2 * height[ring] * width


def parts_of(cells: Tensor, n: int = PARTS) -> tuple[Tensor, Tensor, Tensor]:
    """Cut cells (m, 2, 2) into n^2 parts by the weights of Gauss-Legendre.

    In theta and phi, in which functions are smooth at the poles too.

    Returns
    -------
    parts, points, areas
        (m, n^2, 2, 2); the points of Gauss-Legendre, one in each, (m, n^2, 3); and
        their weights (m, n^2) in steradian.
    """
    begin, length = cells.unsqueeze(1).unbind(-1)  # (m, 1, 2)
    starts, shares, places = (x.to(cells).unsqueeze(1) for x in intervals(n))
    lengths = shares * length  # (m, n, 2)
    edges = torch.stack([begin + starts * length, lengths], -1)
    angles = begin + places * length
    sine, cosine = angles.sin(), angles.cos()
    down = torch.stack([sine[..., 0], sine[..., 0], cosine[..., 0]], -1)
    across = torch.stack(
        [cosine[..., 1], sine[..., 1], torch.ones_like(sine[..., 1])], -1
    )
    points = down.unsqueeze(2) * across.unsqueeze(1)  # (m, n, n, 3)
    areas = (sine * lengths)[..., 0].unsqueeze(2) * lengths[..., 1].unsqueeze(1)
    parts = torch.stack(
        [
            edges[:, :, 0].unsqueeze(2).expand(-1, -1, n, -1),
            edges[:, :, 1].unsqueeze(1).expand(-1, n, -1, -1),
        ],
        3,
    )
    return parts.flatten(1, 2), points.flatten(1, 2), areas.flatten(1, 2)


def areas_of(cells: Tensor) -> Tensor:
    """Return the areas of cells (..., 2, 2), (...), in steradian."""
    (theta, _), (height, width) = (x.unbind(-1) for x in cells.unbind(-1))
    half = 0.5 * height
    return 2 * (theta + half).sin() * half.sin() * width


def points_in(cells: Tensor, inside: Tensor) -> Tensor:
    """Map places within cells, (..., 2) in [0, 1], to unit vectors (..., 3).

    Equal areas of a cell have equal areas there.
    """
    (theta, phi), (height, width) = (x.unbind(-1) for x in cells.unbind(-1))
    down, across = inside.unbind(-1)
    top, bottom = ((0.5 * x).sin().square() for x in (theta, theta + height))
    return _unit_vectors(top + down * (bottom - top), phi + across * width)


@functools.cache
def intervals(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return where n intervals of [0, 1] begin, their lengths, and a place in each."""
    places, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(n))
    lengths = 0.5 * weights
    return lengths.cumsum(0) - lengths, lengths, 0.5 * (places + 1)


def _unit_vectors(depth: Tensor, phi: Tensor) -> Tensor:
    """Return unit vectors (..., 3) with z = 1 - 2 depth: exact at the poles too."""
    radius = 2 * (depth * (1 - depth)).clamp(min=0).sqrt()
    return torch.stack([radius * phi.cos(), radius * phi.sin(), 1 - 2 * depth], -1)
