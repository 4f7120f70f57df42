"""The loss: a weighted sum of energy, force, stress, dipole and charge terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equicalc.training.config import LossConfig

if TYPE_CHECKING:
    from torch_geometric.data import Data


def residuals(predicted: dict[str, Tensor], batch: Data, term: str) -> Tensor:
    """Return prediction minus label of one term; energies are per atom.

    Parameters
    ----------
    predicted
        Output of `equicalc.models.evaluate`.
    batch
        Graph with labels.
    term
        `energy`, `forces`, `stress`, `dipole` or `charges`.
    """
    value = predicted[term]
    difference = value - batch[term].to(value.dtype)
    if term == "energy":
        difference = difference / batch.ptr.diff()  # (n_graphs,)
    return difference


def penalty(residual: Tensor, kind: str, delta: float) -> Tensor:
    """Return the mean penalty of residuals, a scalar.

    Parameters
    ----------
    residual : (n,) or (n, ...)
        Prediction minus label.
    kind
        `mse`, `l1`, `huber` or `norm`.
    delta
        Where `huber` turns linear.

    Examples
    --------
    >>> penalty(torch.tensor([[3.0, 4.0]]), "norm", 1.0).item()
    5.0
    >>> penalty(torch.tensor([3.0, 4.0]), "mse", 1.0).item()
    12.5
    """
    if kind == "mse":
        return residual.square().mean()
    if kind == "l1":
        return residual.abs().mean()
    if kind == "huber":
        zero = torch.zeros_like(residual)
        return torch.nn.functional.huber_loss(residual, zero, delta=delta)
    return torch.linalg.vector_norm(residual.reshape(len(residual), -1), dim=1).mean()


def total_loss(
    predicted: dict[str, Tensor], batch: Data, config: LossConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted loss and its unweighted terms.

    Parameters
    ----------
    predicted
        Output of `equicalc.models.evaluate`.
    batch
        Graph with a label for every term of positive weight.
    config
        Weights and kinds.
    """
    terms, weighted = {}, []
    for term, weight in config.weights().items():
        residual = residuals(predicted, batch, term)
        value = penalty(residual, config.kind_of(term), config.huber_delta)
        terms[term] = value.detach()
        weighted.append(weight * value.double())
    return torch.stack(weighted).sum(), terms
