"""Many numbers a structure, two numbers a structure: PCA, UMAP, PHATE."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["METHODS", "project"]

#: Points that PHATE places by the slower and more accurate of its solvers.
FEW = 500


def project(
    points: NDArray[np.floating], method: str = "pca", seed: int = 0
) -> NDArray[np.float64]:
    """Project points to the plane.

    Parameters
    ----------
    points : (n, n_features)
        At least four.
    method
        ``"pca"``: the two directions of largest variance; ``"umap"`` [1]_: keeps
        neighbourhoods; ``"phate"`` [2]_: keeps neighbourhoods and branches.
    seed
        Of the methods that draw random numbers.

    Returns
    -------
    (n, 2)

    Raises
    ------
    ValueError
        If the method is unknown or there are too few points.
    ImportError
        If the package of the method is missing.

    References
    ----------
    .. [1] McInnes, Healy, Melville, "UMAP", arXiv:1802.03426.
    .. [2] Moon et al., "Visualizing structure and transitions in high-dimensional
       biological data", Nat. Biotechnol. 37, 1482 (2019).

    Examples
    --------
    >>> line = np.outer(np.arange(5.0), [3.0, 0.0, 4.0])
    >>> np.abs(project(line)[:, 0]).tolist()
    [10.0, 5.0, 0.0, 5.0, 10.0]
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; give {', '.join(METHODS)}")
    if len(points) < 4:
        raise ValueError(f"{len(points)} structures cannot be mapped; give at least 4")
    return METHODS[method](np.asarray(points, dtype=np.float64), seed)


def _pca(points: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    centered = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    flat = centered @ axes[:2].T
    plane = np.zeros((len(points), 2))
    plane[:, : flat.shape[1]] = flat
    return plane


def _umap(points: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    n_neighbors = min(15, len(points) - 1)
    options = {"n_neighbors": n_neighbors, "random_state": seed, "n_jobs": 1}
    return _fitted("umap", "UMAP", points, options)


def _phate(points: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    knn = min(5, len(points) - 2)
    # "sgd" draws pairs: of few points too few, and it prints that it did not converge
    solver = "smacof" if len(points) <= FEW else "sgd"
    options = {"knn": knn, "mds_solver": solver, "random_state": seed}
    options |= {"n_jobs": 1, "verbose": 0}
    return _fitted("phate", "PHATE", points, options)


def _fitted(
    package: str, name: str, points: NDArray[np.float64], options: dict[str, Any]
) -> NDArray[np.float64]:
    """Project with an estimator of another package."""
    try:
        estimator = getattr(import_module(package), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f'{name} is missing: pip install "equicalc[analysis]"'
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about threads and its own dependencies
        flat = estimator(**options).fit_transform(points)
    return np.asarray(flat, dtype=np.float64)


METHODS = {"pca": _pca, "umap": _umap, "phate": _phate}
"""Name to function of points (n, n_features) and seed."""
