"""Numbers that a model takes from its training set."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

logger = logging.getLogger(__name__)


def composition(z: np.ndarray, ptr: np.ndarray, elements: np.ndarray) -> np.ndarray:
    """Count the atoms of every element in every structure.

    Parameters
    ----------
    z : (n_atoms,)
        Atomic numbers.
    ptr : (n_structures + 1,)
        Where structures begin.
    elements : (n_elements,)
        Atomic numbers, sorted.

    Returns
    -------
    (n_structures, n_elements)

    Raises
    ------
    ValueError
        If a structure holds another element.

    Examples
    --------
    >>> composition(np.array([8, 1, 1, 1]), np.array([0, 3, 4]), np.array([1, 8]))
    array([[2, 1],
           [1, 0]])
    """
    if len(unknown := np.setdiff1d(z, elements)):
        raise ValueError(
            f"the data hold the atomic numbers {unknown.tolist()}, which "
            f"model.elements {np.asarray(elements).tolist()} lacks: add them, or leave "
            "model.elements out"
        )
    column = np.searchsorted(elements, z)
    row = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    flat = np.bincount(
        row * len(elements) + column, minlength=(len(ptr) - 1) * len(elements)
    )
    return flat.reshape(-1, len(elements))


def reference_energies(
    counts: np.ndarray,
    energies: np.ndarray,
    elements: np.ndarray,
    isolated: Mapping[int, float] | None = None,
) -> np.ndarray:
    """Return the energy of an atom alone, for every element.

    1. What `isolated` says.
    2. The lowest energy of a one-atom structure of the set.
    3. For the rest, least squares of the energies on the composition.

    Parameters
    ----------
    counts : (n_structures, n_elements)
        See `composition`.
    energies : (n_structures,), eV
        Energies of the structures.
    elements : (n_elements,)
        Atomic numbers, sorted.
    isolated
        Known energies, eV, by atomic number.

    Returns
    -------
    (n_elements,), eV
    """
    known = dict(isolated or {})
    for row in np.flatnonzero(counts.sum(1) == 1):
        number = int(elements[counts[row].argmax()])
        if isolated is None or number not in isolated:
            known[number] = min(known.get(number, np.inf), float(energies[row]))
    values = np.array([known.get(int(number), np.nan) for number in elements])
    fitted = np.isnan(values)
    if fitted.any():
        rest = energies - counts[:, ~fitted] @ values[~fitted]
        solution = np.linalg.lstsq(counts[:, fitted].astype(float), rest, rcond=None)[0]
        values[fitted] = solution
        logger.info(
            "no isolated atoms of %s: their reference energies are a least-squares fit",
            elements[fitted].tolist(),
        )
    return values


def force_scale(forces: np.ndarray) -> float:
    """Return the root mean square of force components, eV/Angstrom; 1 if all zero.

    Examples
    --------
    >>> force_scale(np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 5.0]]))  # sqrt(50 / 6)
    2.886751345948129
    """
    scale = float(np.sqrt(np.mean(np.square(forces, dtype=np.float64))))
    return scale if scale > 0 else 1.0


@dataclass(frozen=True)
class TargetStatistics:
    """How a property is shifted and scaled, see `equicalc.nn.property_output`.

    Attributes
    ----------
    references : tuple of float
        Of every element, in the property's unit.
    means, scales : float
        Mean and standard deviation of what is left, of an atom or of a molecule.
    """

    references: tuple[float, ...]
    means: float
    scales: float

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        counts: np.ndarray,
        references: np.ndarray | None,
        per_atom: bool,
    ) -> TargetStatistics:
        """Take the statistics of molecules.

        Parameters
        ----------
        values : (n_molecules,)
            The property.
        counts : (n_molecules, n_elements)
            See `composition`.
        references : (n_elements,), optional
            Values of free atoms; without them, a least-squares fit.
        per_atom
            Whether mean and deviation are those of the values divided by the number
            of atoms.

        Examples
        --------
        >>> counts = np.array([[1, 1], [2, 1], [2, 2]])
        >>> values = counts @ [1.0, 5.0] + [1.0, -1.0, 0.0]
        >>> TargetStatistics.of(values, counts, np.array([1.0, 5.0]), False).scales
        0.816496580927726
        """
        values = values.astype(np.float64)
        if references is None:
            references = np.linalg.lstsq(counts.astype(float), values, rcond=None)[0]
        rest = values - counts @ references
        if per_atom:
            rest = rest / counts.sum(1)
        return cls(
            tuple(references.tolist()),
            float(rest.mean()),
            float(rest.std()) or 1.0,
        )
