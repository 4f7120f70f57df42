"""Training of potentials: energies, forces and the rest against their labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from equicalc.models import CompiledForces, Potential, compile_forces, evaluate
from equicalc.training.config import LossConfig, TrainConfig
from equicalc.training.errors import Predictions
from equicalc.training.losses import total_loss
from equicalc.training.regularise import regularised, with_draw
from equicalc.training.report import write_report
from equicalc.training.sources import load_parts, model_settings
from equicalc.training.task import Task

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from equicalc.data.packed import PackedDataset


class PotentialTask(Task):
    """The `Task` of `equicalc.models.Potential`."""

    unit = "structures"

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self._outputs = tuple(config.loss.weights())
        self._compiled: CompiledForces | None = None

    def load_parts(self) -> dict[str, PackedDataset]:
        """Return the structures, see `equicalc.training.sources.load_parts`."""
        return load_parts(self.config, self._outputs)

    def model_settings(self, dataset: PackedDataset) -> dict[str, Any]:
        """Return the model's configuration, completed from the training set."""
        return model_settings(self.config, dataset)

    def card(self, model: torch.nn.Module) -> dict[str, Any]:
        """Tell which outputs no loss has trained; calculators leave them out."""
        if not cast(Potential, model).config.dipole:
            return {}
        untrained = [n for n in ("charges", "dipole") if n not in self._outputs]
        return {"not_trained": untrained} if untrained else {}

    def batch(
        self, model: torch.nn.Module, dataset: PackedDataset, indices: np.ndarray
    ) -> Data:
        """Collect structures into a graph with the model's cutoff."""
        graph = dataset.batch(indices, model.cutoff)  # pyright: ignore[reportArgumentType]
        return with_draw(graph, self.config, indices)

    def count(self, batch: Data) -> int:
        """Return the number of structures."""
        return len(batch.ptr) - 1

    def loss(
        self, model: torch.nn.Module, batch: Data
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted loss and its unweighted terms."""
        if self.config.trainer.compile and self._compiled is None:
            self._compiled = compile_forces(model)

        def loss() -> tuple[Tensor, dict[str, Tensor]]:
            predicted = evaluate(
                self._compiled or model, batch, self._outputs, create_graph=True
            )
            return total_loss(predicted, batch, self.config.loss)

        return regularised(loss, model, batch, self.config.regularise)

    def validation(self) -> PotentialValidation:
        """Begin to gather predictions."""
        return PotentialValidation(self.config.loss)

    def write_report(self, folder: Path, parts: dict[str, PackedDataset]) -> None:
        """Write errors, learning curve and parity plots."""
        write_report(folder, self.config, parts)


class PotentialValidation:
    """Loss and errors of a potential, gathered batch by batch.

    Parameters
    ----------
    config
        The loss.
    """

    def __init__(self, config: LossConfig) -> None:
        self.config = config
        self.predictions = Predictions()
        self.losses: list[tuple[Tensor, int]] = []

    def add(self, model: torch.nn.Module, batch: Data) -> None:
        """Evaluate a batch."""
        with torch.enable_grad():
            predicted = evaluate(model, batch, tuple(self.config.weights()))
        loss, _ = total_loss(predicted, batch, self.config)
        self.losses.append((loss, len(batch.ptr) - 1))
        self.predictions.add(predicted, batch)

    def table(self) -> dict[str, Any]:
        """Return the loss, and errors by quantity and element."""
        total = sum(float(value) * n for value, n in self.losses)
        loss = total / sum(n for _, n in self.losses)
        return {"loss": loss, **self.predictions.table()}
