"""Errors of networks of molecular properties, by target and in its unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from equicalc.data.qm9 import TARGETS
from equicalc.models import PropertyNetwork
from equicalc.training.batches import in_order
from equicalc.training.config import LossConfig
from equicalc.training.losses import penalty

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from equicalc.data.packed import PackedDataset


#: Vectors that a network can learn in the place of properties, and their units.
VECTORS = {"noise": "Angstrom", "dipole": "e Angstrom"}


class PropertyValidation:
    """Loss and errors of a property network, gathered batch by batch.

    Parameters
    ----------
    targets
        Names of the properties.
    config
        The loss.
    """

    def __init__(self, targets: tuple[str, ...], config: LossConfig) -> None:
        self.targets, self.config = targets, config
        self.residuals: list[Tensor] = []  # (..., n_targets) in the targets' units
        self.n_structures = 0
        self.scaled: list[Tensor] = []

    @torch.no_grad()
    def add(self, model: torch.nn.Module, batch: Data) -> None:
        """Evaluate a batch."""
        network = cast(PropertyNetwork, model)
        values = network(batch)["values"]
        self.n_structures += len(batch["ptr"]) - 1
        self.residuals.append((values - batch["targets"]).cpu())
        self.scaled.append(scaled_residual(network, values, batch).cpu())

    def table(self) -> dict[str, Any]:
        """Return the loss, and the errors of every target in its unit."""
        residuals = torch.cat(self.residuals)
        loss, _ = target_loss(torch.cat(self.scaled), self.targets, self.config)
        table: dict[str, Any] = {
            "loss": float(loss),
            "n_structures": self.n_structures,
            "units": units(self.targets),
        }
        for name, error in zip(self.targets, residuals.unbind(-1)):
            rmse = error.square().mean().sqrt()
            table[name] = {"mae": float(error.abs().mean()), "rmse": float(rmse)}
        return table


def evaluate_properties(
    model: PropertyNetwork,
    dataset: PackedDataset,
    batch_size: int = 64,
    loss: LossConfig | None = None,
) -> dict[str, Any]:
    """Return the errors of a network on all of its targets.

    Parameters
    ----------
    model
        The network.
    dataset
        Molecules with the targets.
    batch_size
        Molecules at a time.
    loss
        What else is told of them.

    Returns
    -------
    dict
        `loss`, `n_structures`, `units` and, by target, `{"mae", "rmse"}`.

    Raises
    ------
    ValueError
        If the molecules lack a target.
    """
    device = next(model.parameters()).device
    targets = model.config.targets
    validation = PropertyValidation(targets, loss or LossConfig())
    for indices in in_order(len(dataset), batch_size):
        batch = property_batch(dataset, indices, model.cutoff, targets)
        validation.add(model, batch.to(device))
    return validation.table()


def property_batch(
    dataset: PackedDataset,
    indices: np.ndarray,
    cutoff: float,
    targets: Sequence[str],
) -> Data:
    """Collect molecules into a graph with ``targets``, (n_graphs, ..., n_targets).

    Raises
    ------
    ValueError
        If they lack a target.
    """
    require_targets(dataset, targets)
    graph = dataset.batch(indices, cutoff)
    values = [dataset.values(column(name), indices) for name in targets]
    graph["targets"] = torch.from_numpy(np.stack(values, -1).astype(np.float64))
    return graph


def require_targets(dataset: PackedDataset, targets: Sequence[str]) -> None:
    """Raise ValueError if molecules lack a target."""
    for name in targets:
        if column(name) not in dataset.fields:
            raise ValueError(
                f"the molecules of {dataset.name} have no {name!r}; they have "
                f"{', '.join(dataset.fields)} (energy is U0): give every molecule its "
                f"{name}, in a file of atoms as info[{name!r}] in {units([name])[name]}"
            )


def column(target: str) -> str:
    """Return under which name packed data sets have a target: U0 is their energy."""
    return "energy" if target == "U0" else target


def units(targets: Sequence[str]) -> dict[str, str]:
    """Return the unit of every target by its name."""
    known = {name: target.unit for name, target in TARGETS.items()} | VECTORS
    return {name: known[name] for name in targets}


def scaled_residual(model: PropertyNetwork, values: Tensor, batch: Data) -> Tensor:
    """Return prediction minus target in units of the model's scales."""
    scales = values.new_tensor(model.config.scales or [1.0] * values.shape[-1])
    return (values - batch["targets"]) / scales


def target_loss(
    residual: Tensor, targets: tuple[str, ...], config: LossConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean penalty of all targets, and that of each by its name."""
    terms = {
        name: penalty(values, config.kind_of(name), config.huber_delta)
        for name, values in zip(targets, residual.unbind(-1))
    }
    return torch.stack(list(terms.values())).mean(), {
        name: value.detach() for name, value in terms.items()
    }
