"""Which images of a molecule its energy runs over, each pair of molecules once.

The image of a molecule under g sees it as it sees the image under the inverse of g. So
one of the two is enough: the energy per molecule is the sum over one of each, where an
operation that is its own inverse counts half.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .symmetry import lattice_basis, operations

__all__ = ["Images", "cartesian_rotations", "half_of_images"]

CODE = 200  # larger than any lattice shift
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Images:
    """Images x -> rotation x + translation + shift of a molecule.

    Attributes
    ----------
    operation : (n_images,)
        Row of `operations`.
    shift : (n_images, 3)
        Translation and lattice shift together, fractional.
    weight : (n_images,)
        1, or 1/2 for operations that are their own inverse.
    """

    operation: Tensor
    shift: Tensor
    weight: Tensor


def cartesian_rotations(spacegroup: int) -> Tensor:
    """Orthogonal matrices (m, 3, 3) of the operations, for columns, in any cell."""
    basis = lattice_basis(spacegroup)
    weights = np.linspace(5, 6, len(basis))  # any cell of the lattice system
    cell = np.einsum("p,pij->ij", weights, basis).T
    turns = cell @ operations(spacegroup).rotations @ np.linalg.inv(cell)
    return torch.as_tensor(turns, dtype=torch.float32)


@lru_cache(maxsize=64)
def half_of_images(spacegroup: int, reach: tuple[int, int, int]) -> Images:
    """List one image of each pair of inverse operations.

    Parameters
    ----------
    spacegroup
        1 to 230.
    reach
        Largest lattice shift along each lattice vector.

    Examples
    --------
    >>> images = half_of_images(1, (1, 1, 1))
    >>> len(images.shift), images.weight.sum().item()  # of 26 neighbours
    (13, 13.0)
    """
    group = operations(spacegroup)
    steps = [np.arange(-n, n + 1) for n in reach]
    grid = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    index = np.repeat(np.arange(len(group)), len(grid))
    shift = np.tile(grid, (len(group), 1))

    partner, back = _inverses(spacegroup)
    moved = group.translations[index] + shift
    inverse = -np.einsum("nij,nj->ni", back[index], moved)
    inverse_shift = np.rint(inverse - group.translations[partner[index]])
    own = _code(index, shift)
    other = _code(partner[index], inverse_shift.astype(np.int64))
    identity = (index == 0) & (shift == 0).all(axis=1)
    keep = (own <= other) & ~identity
    return Images(
        operation=torch.as_tensor(index[keep]),
        shift=torch.as_tensor(moved[keep], dtype=torch.float32),
        weight=torch.as_tensor(
            np.where(own == other, 0.5, 1.0)[keep], dtype=torch.float32
        ),
    )


def _inverses(spacegroup: int) -> tuple[np.ndarray, np.ndarray]:
    """Row of the inverse of each operation up to a lattice shift, and its rotation."""
    group = operations(spacegroup)
    back = np.rint(np.linalg.inv(group.rotations))
    translation = -np.einsum("nij,nj->ni", back, group.translations)
    apart = translation[:, None] - group.translations
    same = np.abs(apart - np.rint(apart)).max(axis=-1) < TOLERANCE
    same &= (back[:, None] == group.rotations).all(axis=(-1, -2))
    return same.argmax(axis=1), back


def _code(index: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """One integer for each image."""
    code = index.astype(np.int64)
    for column in shift.T:
        code = code * (2 * CODE) + column + CODE
    return code
