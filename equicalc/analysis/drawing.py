"""Ball-and-stick pictures of molecules, ray-cast with numpy.

The camera looks along -z in parallel projection; each ball and stick writes depth and
normal of the surface that it shows into a buffer, where the nearest wins, and the
buffer is lit at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from equicalc.data.bonds import find_bonds

if TYPE_CHECKING:
    from ase import Atoms

BALL = 0.42
"""Radius of a ball in covalent radii (hydrogen: 0.65)."""
STICK = 0.11
"""Radius of a stick, Angstrom."""
LIGHT = np.array([-0.42, 0.52, 0.74]) / np.linalg.norm([-0.42, 0.52, 0.74])
CARBON = np.array([0.32, 0.32, 0.35])


def render(atoms: Atoms, size: int = 400) -> np.ndarray:
    """Draw a molecule, turned so that it shows its broad side.

    Parameters
    ----------
    atoms
        What to draw.
    size
        Width and height of the picture in pixels.

    Returns
    -------
    (size, size, 4) float
        Red, green, blue and opacity, 0 to 1.

    Examples
    --------
    >>> from ase.build import molecule
    >>> picture = render(molecule("C6H6"), size=64)
    >>> picture.shape, bool(picture[..., 3].max() > 0.9)
    ((64, 64, 4), True)
    """
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    positions = _broadside(atoms.positions)
    radii = covalent_radii[atoms.numbers] * np.where(atoms.numbers == 1, 0.65, BALL)
    colors = np.where((atoms.numbers == 6)[:, None], CARBON, jmol_colors[atoms.numbers])
    extent = 1.08 * (np.abs(positions[:, :2]) + radii[:, None]).max()
    buffer = _Buffer(2 * size, float(extent))  # twice the size, then averaged
    for center, radius, color in zip(positions, radii, colors):
        buffer.ball(center, radius, color)
    for i, j in find_bonds(atoms):
        middle = (positions[i] + positions[j]) / 2.0
        buffer.stick(positions[i], middle, colors[i])
        buffer.stick(middle, positions[j], colors[j])
    picture = buffer.lit()
    return picture.reshape(size, 2, size, 2, 4).mean(axis=(1, 3))


def save_picture(atoms: Atoms, path: str | Path, size: int = 400) -> Path:
    """Write the picture of a molecule to a PNG file.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    from equicalc.analysis.plots import require_matplotlib

    require_matplotlib()
    from matplotlib.image import imsave

    imsave(path, np.ascontiguousarray(render(atoms, size)), format="png")
    return Path(path)


def _broadside(positions: np.ndarray) -> np.ndarray:
    """Center and turn: the longest extension along x, the shortest along z."""
    centered = positions - positions.mean(axis=0)
    _, _, axes = np.linalg.svd(centered, full_matrices=len(centered) < 3)
    axes[2] *= np.sign(np.linalg.det(axes))  # a rotation, no reflection
    return centered @ axes.T @ _tilt(0.35)


def _tilt(angle: float) -> np.ndarray:
    """Rotation about x and a little about y, so that flat molecules look solid."""
    c, s = np.cos(angle), np.sin(angle)
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    return about_x @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


@dataclass
class _Surface:
    """Points of a surface on a grid of pixels; depth is -inf where there is none."""

    window: tuple[slice, slice]
    depth: np.ndarray  # (rows, columns)
    normal: np.ndarray  # (rows, columns, 3)


class _Buffer:
    """Depth, normal and color of what each pixel shows."""

    def __init__(self, size: int, extent: float) -> None:
        self.axis = np.linspace(-extent, extent, size)
        self.depth = np.full((size, size), -np.inf)
        self.normal = np.zeros((size, size, 3))
        self.color = np.ones((size, size, 3))

    def ball(self, center: np.ndarray, radius: float, color: np.ndarray) -> None:
        """Add a sphere."""
        window, x, y = self._window(center, center, radius)
        x, y = x - center[0], y - center[1]
        z = np.sqrt(np.maximum(radius**2 - x**2 - y**2, 0.0))
        depth = np.where(z > 0, center[2] + z, -np.inf)
        self._add(_Surface(window, depth, np.stack([x, y, z], -1) / radius), color)

    def stick(self, start: np.ndarray, end: np.ndarray, color: np.ndarray) -> None:
        """Add a cylinder without caps.

        A point p + t e (p in the plane of the picture, e towards the camera) is on it
        if its distance from the axis is the radius: a t^2 + 2 b t + c = 0.
        """
        window, x, y = self._window(start, end, STICK)
        length = np.linalg.norm(end - start)
        axis = (end - start) / length
        p = np.stack([x - start[0], y - start[1], np.zeros_like(x)], -1)
        p_across = p - (p @ axis)[..., None] * axis
        e_across = np.array([0.0, 0.0, 1.0]) - axis[2] * axis
        a = e_across @ e_across
        if a < 1e-9:  # seen end-on, behind a ball
            return
        b = p_across @ e_across
        root = b**2 - a * ((p_across**2).sum(-1) - STICK**2)
        t = (-b + np.sqrt(np.maximum(root, 0.0))) / a
        along = p @ axis + t * axis[2]
        seen = (root > 0) & (along >= 0) & (along <= length)
        normal = (p_across + t[..., None] * e_across) / STICK
        depth = np.where(seen, start[2] + t, -np.inf)
        self._add(_Surface(window, depth, normal), color)

    def lit(self) -> np.ndarray:
        """Light the buffer from the upper left; what is far pales."""
        seen = np.isfinite(self.depth)
        diffuse = np.clip(self.normal @ LIGHT, 0.0, 1.0)[..., None]
        half = LIGHT + np.array([0.0, 0.0, 1.0])
        shine = np.clip(self.normal @ (half / np.linalg.norm(half)), 0.0, 1.0) ** 40
        rim = 0.55 + 0.45 * np.clip(2.2 * self.normal[..., 2:], 0.0, 1.0)
        color = self.color * (0.38 + 0.62 * diffuse) * rim + 0.4 * shine[..., None]
        nearest, farthest = self.depth[seen].max(), self.depth[seen].min()
        far = (nearest - self.depth[seen]) / max(nearest - farthest, 6.0)
        color[seen] += 0.35 * far[:, None] * (1.0 - color[seen])
        picture = np.concatenate([np.clip(color, 0.0, 1.0), seen[..., None]], axis=-1)
        picture[~seen, :3] = 1.0
        return picture[::-1]

    def _window(
        self, start: np.ndarray, end: np.ndarray, margin: float
    ) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
        """Pixels that may be touched, and their coordinates (rows, columns)."""
        low = np.minimum(start, end) - margin
        high = np.maximum(start, end) + margin
        columns, rows = (
            slice(*np.searchsorted(self.axis, [low[k], high[k]])) for k in (0, 1)
        )
        x, y = np.meshgrid(self.axis[columns], self.axis[rows])
        return (rows, columns), x, y

    def _add(self, surface: _Surface, color: np.ndarray) -> None:
        """Show a surface where it is nearer than what was there."""
        nearer = surface.depth > self.depth[surface.window]
        self.depth[surface.window][nearer] = surface.depth[nearer]
        self.normal[surface.window][nearer] = surface.normal[nearer]
        self.color[surface.window][nearer] = color
