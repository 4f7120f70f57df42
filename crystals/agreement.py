"""How well predicted energies agree with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["expected_errors", "rank_correlation"]

LEAST = 4  # crystals of a molecule whose ranks say something


def rank_correlation(
    molecules: Sequence[object] | NDArray, made: ArrayLike, given: ArrayLike
) -> float | None:
    """Mean rank correlation (Spearman) within the crystals of each molecule.

    Parameters
    ----------
    molecules : (n,)
        Which crystals are of the same molecule.
    made, given : (n,)
        Predictions and labels.

    Returns
    -------
    float or None
        None if no molecule has `LEAST` crystals with different energies.

    Examples
    --------
    >>> rank_correlation(["a"] * 4, [1, 2, 3, 4], [2, 3, 5, 9])
    1.0
    """
    from scipy.stats import spearmanr

    names, made, given = np.asarray(molecules), np.asarray(made), np.asarray(given)
    found = []
    for one in np.unique(names):
        its = names == one
        if its.sum() >= LEAST and np.ptp(made[its]) > 0 and np.ptp(given[its]) > 0:
            found.append(float(spearmanr(made[its], given[its])[0]))  # pyright: ignore[reportArgumentType]
    return round(float(np.mean(found)), 6) if found else None


def expected_errors(given: ArrayLike, members: ArrayLike) -> tuple[float, float]:
    """Fit how errors follow from the deviation of the members, by least squares.

    Squared errors are a factor squared times the variance of the members, and the
    square of an error where they agree. The card of a predictor has both as ``spread``,
    see `LatticeEnergyPredictor.uncertainty`.

    Parameters
    ----------
    given : (n,)
        Labels of crystals that were not learned from, kJ/mol.
    members : (n_members, n)
        Predictions.
    """
    from scipy.optimize import nnls

    members, given = np.asarray(members), np.asarray(given)
    terms = np.stack([members.var(0), np.ones(len(given))], 1)
    squares, _ = nnls(terms, (members.mean(0) - given) ** 2)
    factor, floor = np.sqrt(squares).round(3).tolist()
    return factor, floor
