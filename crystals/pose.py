"""Cell and pose of a molecule as the 12 numbers that describe a crystal with one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .shape import standard_frame, standard_orientation

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["inside", "parameters_of", "place"]


def place(molecule: Atoms, parameters: ArrayLike) -> tuple[NDArray[np.float64], Atoms]:
    """Put a molecule into a cell.

    Parameters
    ----------
    molecule
        In any orientation.
    parameters : (12,)
        As of `MolecularCrystal.parameters`.

    Returns
    -------
    cell : (3, 3), Angstrom
    molecule
        Turned and moved.

    Raises
    ------
    ValueError
        If there are not 12 numbers.
    """
    from ase.geometry import cellpar_to_cell
    from scipy.spatial.transform import Rotation

    values = np.asarray(parameters, dtype=np.float64)
    if values.shape != (12,) or not np.isfinite(values).all():
        raise ValueError(
            f"parameters of shape {values.shape} given; 12 finite numbers needed: "
            "a b c (Angstrom), alpha beta gamma (degrees), u v w, rotation vector"
        )
    cell = cellpar_to_cell(values[:6])
    posed = standard_orientation(molecule)
    turned = Rotation.from_rotvec(values[9:]).apply(posed.positions)
    posed.positions = turned + values[6:9] @ cell
    return cell, posed


def parameters_of(cell: NDArray[np.float64], molecule: Atoms) -> NDArray[np.float64]:
    """Return the parameters, (12,), that `place` makes cell and molecule of.

    Examples
    --------
    >>> from ase.build import molecule
    >>> pose = [6, 6, 7, 90, 100, 90, 0.2, 0.3, 0.1, 0.5, -0.4, 1.0]
    >>> np.allclose(parameters_of(*place(molecule("CH3OH"), pose)), pose)
    True
    """
    from ase.geometry import cell_to_cellpar
    from scipy.spatial.transform import Rotation

    centroid = np.linalg.solve(cell.T, molecule.positions.mean(axis=0))
    turn = Rotation.from_matrix(standard_frame(molecule).T).as_rotvec()
    return np.concatenate([cell_to_cellpar(cell), centroid, turn]).astype(np.float64)


def inside(molecule: Atoms, cell: NDArray[np.float64]) -> Atoms:
    """Shift a molecule so that its centroid is inside of the cell, and return it."""
    centroid = molecule.positions.mean(axis=0) @ np.linalg.inv(cell)
    molecule.positions -= np.floor(centroid + 1e-9) @ cell
    return molecule
