"""Shape of a molecule: standard orientation, radii and volume."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import UnknownElementError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["standard_frame", "standard_orientation", "vdw_radii", "vdw_volume"]

DEGENERATE = 1e-3  # relative difference of moments of inertia that count as equal
OFF_AXIS = 1e-2  # Angstrom
SPHERE_POINTS = 1000


def vdw_radii(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Van der Waals radii, Angstrom [1]_.

    Raises
    ------
    UnknownElementError
        If an element has none.

    References
    ----------
    .. [1] A. Bondi, J. Phys. Chem. 68, 441 (1964), as tabulated by ASE.
    """
    from ase.data import chemical_symbols
    from ase.data import vdw_radii as table

    radii = table[numbers]
    unknown = np.flatnonzero(~np.isfinite(radii))
    if unknown.size:
        raise UnknownElementError(
            f"no van der Waals radius is known for "
            f"{chemical_symbols[numbers[unknown[0]]]}"
        )
    return radii


def vdw_volume(atoms: Atoms) -> float:
    """Volume of the union of the van der Waals spheres, Angstrom^3.

    Returns
    -------
    float
        By the divergence theorem, from points on the surface that no other sphere
        covers; within about 1 % for molecules.

    Examples
    --------
    >>> from ase import Atoms
    >>> round(vdw_volume(Atoms("C")), 3) == round(4 / 3 * np.pi * 1.7**3, 3)
    True
    """
    centered = atoms.positions - atoms.positions.mean(axis=0)
    placed = centered @ standard_frame(atoms).T  # the same in any pose
    centers = np.round(placed, 3) + 0.0  # and for what is left of it in a file
    return _filled(atoms.numbers.astype(np.int64).tobytes(), centers.tobytes())


def standard_frame(atoms: Atoms) -> NDArray[np.float64]:
    """Axes that turn with the molecule: rows, right-handed.

    The principal axes of inertia, smallest moment first. Where moments are equal, the
    axes within their plane or space follow the first atoms that lie off what is fixed
    already; the directions follow the first atom that is not in the middle. So the
    frame of a turned molecule is the turned frame, for symmetric tops too.

    Returns
    -------
    (3, 3)

    Examples
    --------
    >>> from ase.build import molecule
    >>> benzene = molecule("C6H6")
    >>> first = standard_orientation(benzene)
    >>> benzene.rotate(37, (1, 2, 3))
    >>> np.abs(standard_orientation(benzene).positions - first.positions).max() < 1e-9
    np.True_
    """
    centered = atoms.positions - atoms.positions.mean(axis=0)
    masses = atoms.get_masses()
    about = atoms.positions - masses @ atoms.positions / masses.sum()
    moments, axes = np.linalg.eigh(-np.einsum("n,ni,nj->ij", masses, about, about))
    scale = max(float(np.abs(moments).max()), 1e-12)
    equal = np.diff(moments) < DEGENERATE * scale
    fixed = [_directed(axes[:, 2], centered)] if equal[0] and not equal[1] else []
    frame = [
        _directed(axes[:, k], centered) for k in range(2) if not equal[: k + 1].any()
    ]
    while len(frame) < 2:
        frame.append(_first_off([*fixed, *frame], centered))
    return np.stack([*frame, np.cross(frame[0], frame[1])])


def standard_orientation(atoms: Atoms) -> Atoms:
    """Molecule with its centroid in the origin and its `standard_frame` along x, y, z.

    Returns
    -------
    Atoms
        Not periodic; a new one.
    """
    turned = atoms.copy()
    centered = atoms.positions - atoms.positions.mean(axis=0)
    turned.positions = centered @ standard_frame(atoms).T
    turned.pbc = False
    turned.cell = None
    return turned


def _directed(
    axis: NDArray[np.float64], centered: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turn an axis towards the first atom that is not in the middle."""
    along = centered @ axis
    first = np.flatnonzero(np.abs(along) > OFF_AXIS)
    return -axis if first.size and along[first[0]] < 0 else axis


def _first_off(
    fixed: list[NDArray[np.float64]], centered: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Direction of the first atom off the fixed axes, orthogonal to them."""
    directions = np.concatenate([centered, np.eye(3)])
    for axis in fixed:
        directions = directions - (directions @ axis)[:, None] * axis
    lengths = np.linalg.norm(directions, axis=1)
    first = np.flatnonzero(lengths > OFF_AXIS)[0]
    return directions[first] / lengths[first]


@lru_cache(maxsize=4096)
def _filled(numbers: bytes, centers: bytes) -> float:
    """Volume of `vdw_volume`, of the arrays with these bytes."""
    radii = vdw_radii(np.frombuffer(numbers, dtype=np.int64))
    places = np.frombuffer(centers).reshape(-1, 3)
    normals = _sphere_points()
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    volume = 0.0
    for i, (center, radius) in enumerate(zip(places, radii)):
        others = np.flatnonzero(apart[i] < radii + radius)
        others = others[others != i]
        points = center + radius * normals
        squared = np.square(points[:, None] - places[others]).sum(axis=2)
        outside = (squared >= radii[others] ** 2).all(axis=1)
        flux = (points * normals).sum(axis=1)[outside].sum() / len(points)
        volume += 4 * np.pi * radius**2 * flux / 3
    return float(volume)


@cache
def _sphere_points() -> NDArray[np.float64]:
    """Points spread evenly over the unit sphere, on a golden spiral."""
    index = np.arange(SPHERE_POINTS) + 0.5
    z = 1 - 2 * index / SPHERE_POINTS
    angle = np.pi * (1 + np.sqrt(5)) * index
    ring = np.sqrt(1 - z**2)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)
