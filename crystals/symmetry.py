"""Space groups: operations, lattice systems and symmetry of a structure, by spglib.

Fractional coordinates are rows; an operation takes x to ``x @ rotation.T +
translation``. Groups are in the setting that spglib lists first: unique axis b, first
origin, hexagonal axes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import CrystalError

__all__ = [
    "Operations",
    "SymmetryOf",
    "distinct_images",
    "find_symmetry",
    "lattice_basis",
    "operations",
]

SAME_PLACE = 0.3  # Angstrom; atoms of different molecules are never so near

_N_HALL = 530
_SHAPES = (  # first group of a lattice system, and its cells: a, b, c are rows
    (1, ("100000000", "000100000", "000010000", "000000100", "000000010", "000000001")),
    (3, ("100000000", "000010000", "000000100", "000000001")),
    (16, ("100000000", "000010000", "000000001")),
    (75, ("100010000", "000000001")),
    (143, ("hexagonal", "000000001")),
    (195, ("100010001",)),
)
_HEXAGONAL = np.array([[1.0, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, 0]])


@dataclass(frozen=True)
class Operations:
    """Symmetry operations in the basis of a cell.

    Attributes
    ----------
    rotations : (m, 3, 3)
    translations : (m, 3)
    """

    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rotations)

    def apply(self, fractional: NDArray[np.float64]) -> NDArray[np.float64]:
        """Images (m, n, 3) of points (n, 3)."""
        turned = np.einsum("mij,nj->mni", self.rotations, fractional)
        return turned + self.translations[:, None]


@dataclass(frozen=True)
class SymmetryOf:
    """Symmetry of a structure.

    Attributes
    ----------
    number
        Space group, 1 to 230.
    operations
        In the basis of the given cell; with the lattice translations inside of it.
    orbits : (n_atoms,)
        Atoms that symmetry maps onto each other have the same number.
    transformation : (3, 3)
    origin_shift : (3,)
        Fractional coordinates of the standard setting are
        ``x @ transformation.T + origin_shift``.
    """

    number: int
    operations: Operations
    orbits: NDArray[np.int64]
    transformation: NDArray[np.float64]
    origin_shift: NDArray[np.float64]


@cache
def operations(number: int) -> Operations:
    """Operations of a space group in its standard setting.

    Parameters
    ----------
    number
        1 to 230.

    Returns
    -------
    Operations
        Of the conventional cell, centring included; the first one is the identity.

    Raises
    ------
    ValueError
        If there is no such group.

    Examples
    --------
    >>> len(operations(14)), len(operations(225))
    (4, 192)
    """
    import spglib

    if number not in _hall_numbers():
        raise ValueError(f"space group {number} does not exist; give 1 to 230")
    with _silent_spglib():
        found = spglib.get_symmetry_from_database(_hall_numbers()[number])
    rotations = found["rotations"].astype(np.float64)  # pyright: ignore[reportOptionalSubscript]
    translations = found["translations"].astype(np.float64)  # pyright: ignore[reportOptionalSubscript]
    return Operations(rotations, np.round(24 * translations) / 24)


@cache
def lattice_basis(number: int) -> NDArray[np.float64]:
    """Cells that a space group allows: all sums of a few matrices.

    Parameters
    ----------
    number
        1 to 230.

    Returns
    -------
    (n_free, 3, 3)
        Rows are lattice vectors with a along x and b in the plane of x and y. In all
        cells of the lattice system the operations are then the same orthogonal
        matrices.

    Examples
    --------
    >>> [len(lattice_basis(group)) for group in (2, 14, 62, 225)]
    [6, 4, 3, 1]
    """
    shapes = [cells for first, cells in _SHAPES if first <= number][-1]
    return np.stack([_cell(shape) for shape in shapes])


def find_symmetry(
    cell: NDArray[np.float64],
    fractional: NDArray[np.float64],
    numbers: NDArray[np.int64],
    symprec: float,
) -> SymmetryOf:
    """Find the space group of a structure.

    Parameters
    ----------
    cell : (3, 3), Angstrom
    fractional : (n_atoms, 3)
    numbers : (n_atoms,)
    symprec : Angstrom
        Atoms may be off their ideal places by this.

    Raises
    ------
    CrystalError
        If spglib finds no consistent group.
    """
    import spglib

    atoms: Any = (cell, fractional, numbers)
    with _silent_spglib():
        found = spglib.get_symmetry_dataset(atoms, symprec)
    if found is None:
        raise CrystalError(
            f"no space group is found within {symprec} Angstrom; give another symprec"
        )
    return SymmetryOf(
        number=int(found.number),
        operations=Operations(
            found.rotations.astype(np.float64), found.translations.astype(np.float64)
        ),
        orbits=found.equivalent_atoms.astype(np.int64),
        transformation=found.transformation_matrix,
        origin_shift=found.origin_shift,
    )


def _cell(shape: str) -> NDArray[np.float64]:
    if shape == "hexagonal":
        return _HEXAGONAL
    return np.array([float(digit) for digit in shape]).reshape(3, 3)


@cache
def _hall_numbers() -> dict[int, int]:
    """Space group -> its first entry in the database of spglib."""
    import spglib

    first: dict[int, int] = {}
    with _silent_spglib():
        for hall in range(1, _N_HALL + 1):
            number = spglib.get_spacegroup_type(hall).number  # pyright: ignore[reportOptionalMemberAccess]
            first.setdefault(number, hall)
    return first


@contextmanager
def _silent_spglib() -> Iterator[None]:
    """Hide that spglib announces another way of reporting errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def distinct_images(
    images: NDArray[np.float64], cell: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return distinct ones of fractional images (m, n, 3), Cartesian, and their rows.

    An image is there already if one before it has the same centroid, and any of its
    atoms where this has its first one.
    """
    centroids = images.mean(axis=1)
    images = images - np.floor(centroids[:, None] + 1e-9)
    later, before = np.nonzero(_near(centroids[:, None] - centroids, cell))
    later, before = later[before < later], before[before < later]
    again = _near(images[before] - images[later, :1], cell).any(axis=1)
    kept = np.setdiff1d(np.arange(len(images)), later[again])
    return images[kept] @ cell, kept


def _near(apart: NDArray[np.float64], cell: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether fractional vectors (..., 3) lead to the same place of the crystal."""
    apart = (apart - np.round(apart)) @ cell
    return np.einsum("...i,...i->...", apart, apart) < SAME_PLACE**2
