"""Training of networks for properties of molecules: energies, dipoles, orbitals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from equicalc.checkpoint import load_checkpoint
from equicalc.data.qm9 import TARGETS
from equicalc.models import MODELS, TargetConfig
from equicalc.training.batches import in_order
from equicalc.training.config import LossConfig, TrainConfig
from equicalc.training.losses import penalty
from equicalc.training.plots import plot_target_errors
from equicalc.training.report import write_json
from equicalc.training.sources import average_neighbors, initial_shape, load_parts
from equicalc.training.statistics import TargetStatistics, composition

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from equicalc.data.packed import PackedDataset


class PropertyTask:
    """A `Task` for the subclasses of `equicalc.models.PropertyNetwork`."""

    unit = "molecules"

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.targets = tuple(config.properties.targets)
        if not self.targets or set(self.targets) - set(TARGETS):
            raise ValueError(
                f"properties.targets {list(self.targets)}: name some of "
                f"{', '.join(TARGETS)}"
            )

    def load_parts(self) -> dict[str, PackedDataset]:
        """Return the molecules, see `equicalc.training.sources.load_parts`.

        Raises
        ------
        ValueError
            If they lack a target.
        """
        parts = load_parts(self.config)
        for name, part in parts.items():
            for target in self.targets:
                if column(target) not in part.fields:
                    raise ValueError(
                        f"the molecules for {name!r} have no {target!r}; they have "
                        f"{', '.join(part.fields)} (energy is U0)"
                    )
        return parts

    def model_settings(self, dataset: PackedDataset) -> dict[str, Any]:
        """Return the model's configuration, completed from the training set.

        Elements, references, means, scales and the mean number of neighbours come
        from the molecules unless given.
        """
        kind = MODELS[self.config.task][0]
        given = initial_shape(self.config) | self.config.model
        z, n_atoms = dataset.column("z"), dataset.column("n_atoms")
        elements = np.array(given.get("elements") or np.unique(z), dtype=np.int64)
        ptr = np.concatenate([[0], np.cumsum(n_atoms, dtype=np.int64)])
        counts = composition(z, ptr, elements)
        fields: dict[str, Any] = {
            "elements": tuple(elements.tolist()),
            "targets": self.targets,
        } | given
        per_atom = kind(**fields).per_atom
        rows = [
            TargetStatistics.of(
                dataset.column(column(target)),
                counts,
                self._references(target, elements),
                per_atom,
            )
            for target in self.targets
        ]
        for name in ("references", "means", "scales"):
            values = tuple(getattr(row, name) for row in rows)
            fields.setdefault(name, values)
        names = {field.name for field in dataclasses.fields(kind)}
        if "avg_neighbors" in names - fields.keys():
            cutoff = kind(**fields).cutoff
            fields["avg_neighbors"] = average_neighbors(
                dataset, cutoff, self.config.seed
            )
        return dataclasses.asdict(kind(**fields))

    def _references(self, target: str, elements: np.ndarray) -> np.ndarray | None:
        """Return free atoms' values (n_elements,), or None: to be fitted."""
        known = TARGETS[target]
        if self.config.properties.references == "fit":
            return None
        if self.config.properties.references == "none" or not known.references:
            return np.zeros(len(elements))
        return np.array([known.reference(np.array([number])) for number in elements])

    def batch(
        self, model: torch.nn.Module, dataset: PackedDataset, indices: np.ndarray
    ) -> Data:
        """Collect molecules into a graph with the model's cutoff and ``targets``."""
        graph = dataset.batch(indices, model.cutoff)  # pyright: ignore[reportArgumentType]
        values = [dataset.values(column(name), indices) for name in self.targets]
        graph["targets"] = torch.from_numpy(np.stack(values, 1).astype(np.float64))
        return graph

    def count(self, batch: Data) -> int:
        """Return the number of molecules."""
        return len(batch.ptr) - 1

    def loss(
        self, model: torch.nn.Module, batch: Data
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss of the targets, in units of their scales, and each."""
        residual = scaled_residual(model, model(batch)["values"], batch)
        return target_loss(residual, self.targets, self.config.loss)

    def validation(self) -> PropertyValidation:
        """Begin to gather predictions."""
        return PropertyValidation(self.targets, self.config.loss)

    def write_report(self, folder: Path, parts: dict[str, PackedDataset]) -> None:
        """Write the errors of the best model and the learning curve."""
        model, _ = load_checkpoint(
            folder / "best.safetensors", backend=self.config.trainer.backend
        )
        metrics = {}
        for name in [name for name in parts if name != "train"]:
            prepare = partial(self.batch, model, parts[name])
            validation = self.validation()
            size = self.config.optimizer.batch_size
            for indices in in_order(len(parts[name]), size):
                validation.add(model, prepare(indices))
            metrics[name] = validation.table()
        write_json(folder / "metrics.json", metrics)
        plot_target_errors(folder, units(self.targets))


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
        self.residuals: list[Tensor] = []  # (n_graphs, n_targets) in the targets' units
        self.scaled: list[Tensor] = []

    @torch.no_grad()
    def add(self, model: torch.nn.Module, batch: Data) -> None:
        """Evaluate a batch."""
        values = model(batch)["values"]
        self.residuals.append((values - batch["targets"]).cpu())
        self.scaled.append(scaled_residual(model, values, batch).cpu())

    def table(self) -> dict[str, Any]:
        """Return the loss, and the errors of every target in its unit."""
        residuals = torch.cat(self.residuals)
        loss, _ = target_loss(torch.cat(self.scaled), self.targets, self.config)
        table: dict[str, Any] = {
            "loss": float(loss),
            "n_structures": len(residuals),
            "units": units(self.targets),
        }
        for name, error in zip(self.targets, residuals.T):
            rmse = error.square().mean().sqrt()
            table[name] = {"mae": float(error.abs().mean()), "rmse": float(rmse)}
        return table


def column(target: str) -> str:
    """Return under which name packed data sets have a target: U0 is their energy."""
    return "energy" if target == "U0" else target


def units(targets: Sequence[str]) -> dict[str, str]:
    """Return the unit of every target by its name."""
    return {name: TARGETS[name].unit for name in targets}


def scaled_residual(model: torch.nn.Module, values: Tensor, batch: Data) -> Tensor:
    """Return prediction minus target in units of the model's scales."""
    config = cast(TargetConfig, model.config)
    scales = values.new_tensor(config.scales or [1.0] * values.shape[1])
    return (values - batch["targets"]) / scales


def target_loss(
    residual: Tensor, targets: tuple[str, ...], config: LossConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean penalty of all targets, and that of each by its name."""
    terms = {
        name: penalty(values, config.kind_of(name), config.huber_delta)
        for name, values in zip(targets, residual.T)
    }
    return torch.stack(list(terms.values())).mean(), {
        name: value.detach() for name, value in terms.items()
    }
