"""Numbers that tell how much of an irrep's features is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch_geometric.data import Data

    from equicalc.models import Taps

__all__ = [
    "MEV",
    "gradient_times_activation",
    "knn_r2",
    "named_values",
    "participation",
]

MEV = 1000.0
"""In an eV."""


def participation(features: NDArray[np.floating]) -> float:
    """Return the effective number of channels, tr(C)^2 / tr(C^2) of their covariance.

    Parameters
    ----------
    features : (n, channels, 2l+1)
        Scalars are centred; what turns has a mean of zero over all orientations.

    Returns
    -------
    float
        1 if all channels say the same, their number if each says something of its own.

    Examples
    --------
    >>> round(participation(np.eye(3)[:, :, None]), 3)  # three channels, centred: two
    2.0
    """
    if features.shape[2] == 1:
        features = features - features.mean(axis=0)
    rows = features.transpose(0, 2, 1).reshape(-1, features.shape[1]).astype(float)
    covariance = rows.T @ rows
    total = float(np.square(covariance).sum())
    return float(np.trace(covariance)) ** 2 / total if total > 0 else 0.0


def knn_r2(
    points: NDArray[np.floating],
    values: NDArray[np.floating],
    identities: Sequence[str] | None = None,
    k: int = 5,
) -> float:
    """Return R2 of values predicted as the mean of the k nearest others.

    Parameters
    ----------
    points : (n, n_features)
        Where the structures are.
    values : (n,)
        NaN: left out.
    identities
        Structures of the same name are not neighbours.
    k
        Neighbours.

    Returns
    -------
    float
        1: all known; 0: no better than the mean; NaN for fewer than k + 2 values, or
        if all are the same.

    Examples
    --------
    >>> x = np.linspace(0, 1, 50)
    >>> knn_r2(x[:, None], x) > 0.99
    True
    """
    known = np.isfinite(values)
    points, values = points[known], values[known]
    spread = np.square(values - values.mean()).sum() if len(values) else 0.0
    if len(values) < k + 2 or spread == 0:
        return float("nan")
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    if identities is not None:
        name = np.array(identities)[known]
        distances[name[:, None] == name] = np.inf
    nearest = np.argsort(distances, axis=1)[:, :k]
    predicted = values[nearest].mean(axis=1)
    return float(1.0 - np.square(values - predicted).sum() / spread)


def gradient_times_activation(
    taps: Taps, graph: Data, targets: Sequence[str] = ()
) -> dict[str, dict[str, NDArray[np.floating]]]:
    """Return how far predictions lean on every row of features, to first order.

    Parameters
    ----------
    taps
        Of a network that predicts ``energies`` or ``values``, with weights that require
        gradients.
    graph
        See `equicalc.graph`.
    targets
        Names of the values.

    Returns
    -------
    dict
        ``energy`` or a target to irrep to (n_rows,): dE/dx times x, summed over
        channels, components and layers, where E is the sum of these predictions (of the
        lengths of vectors), meV for energies. Empty for a network without predictions.

    References
    ----------
    .. [1] Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", ICLR
       Workshop 2014.
    """
    with torch.enable_grad(), taps.recorded() as outputs:
        sums = _sums(taps.run(graph), targets)
    parts = [x if isinstance(x, list) else [x] for x in outputs]  # a list of blocks
    return {
        name: _products(taps, parts, prediction, taps.n_rows(graph))
        for name, prediction in sums.items()
    }


def _sums(predicted: Any, targets: Sequence[str]) -> dict[str, Tensor]:
    """Sum every prediction over the atoms or molecules of a batch."""
    if not isinstance(predicted, Mapping):
        return {}
    sums = {}
    if "energies" in predicted:
        sums["energy"] = MEV * predicted["energies"].sum()
    for name, values in named_values(predicted, targets).items():
        lengths = values if values.ndim == 1 else values.norm(dim=1)
        sums[name] = lengths.sum()
    return sums


def named_values(
    predicted: Mapping[str, Tensor], targets: Sequence[str]
) -> dict[str, Tensor]:
    """Split the values of a property network by target, without U0: that is an energy.

    Numbers are (n,), vectors (n, 3).
    """
    if "values" not in predicted:
        return {}
    split = dict(zip(targets, predicted["values"].unbind(-1)))
    return {name: value for name, value in split.items() if name != "U0"}


def _products(
    taps: Taps, parts: list[list[Tensor]], prediction: Tensor, n_rows: int
) -> dict[str, NDArray[np.floating]]:
    """Gradient of one prediction times activation, by irrep."""
    slopes = iter(
        torch.autograd.grad(
            prediction,
            [x for part in parts for x in part],
            retain_graph=True,
            materialize_grads=True,
        )
    )
    total: dict[str, NDArray[np.floating]] = {}
    for tap, part in zip(taps.features, parts):
        product = [x.detach() * next(slopes) for x in part]
        blocks = tap.split(product if tap.layout == "blocks" else product[0])
        for irrep, block in blocks.items():
            value = block[:n_rows].sum((1, 2)).cpu().numpy()
            total[irrep] = total[irrep] + value if irrep in total else value
    return total
