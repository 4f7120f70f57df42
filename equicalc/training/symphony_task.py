"""Training of generators: what comes next in growing molecules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from equicalc.models.generator import Generator
from equicalc.models.symphony import SymphonyConfig
from equicalc.models.symphony_paper import SymphonyPaperConfig
from equicalc.training.growth import GrowthBatch, growth_batch
from equicalc.training.growth_loss import growth_loss, shell_loss
from equicalc.training.plots import plot_terms
from equicalc.training.report import write_metrics
from equicalc.training.sources import initial_shape, load_parts
from equicalc.training.task import Task

if TYPE_CHECKING:
    from equicalc.data.packed import PackedDataset
    from equicalc.training.config import TrainConfig

#: What takes a generator and a batch and returns the mean loss, and its terms.
Loss = Callable[[Any, GrowthBatch], tuple[Tensor, dict[str, Tensor]]]


class SymphonyTask(Task):
    """The `Task` of `equicalc.models.Symphony`; it needs no labels."""

    unit = "fragments"
    terms = ("focus", "radial", "angular")
    objective = staticmethod(growth_loss)

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self._in_training: Loss = self.objective
        if config.trainer.compile:
            self._in_training = torch.compile(self.objective, dynamic=True)

    def load_parts(self) -> dict[str, PackedDataset]:
        """Return the molecules."""
        return load_parts(self.config, labels=())

    def model_settings(self, dataset: PackedDataset) -> dict[str, Any]:
        """Return the model's configuration, completed from the training set.

        Elements, how often a molecule begins with each, and the largest numbers of
        atoms come from the molecules.
        """
        z = dataset.column("z")
        found, counts = np.unique(z[z > 1], return_counts=True)
        fields: dict[str, Any] = {
            "elements": (1, *found.tolist()),
            "start": (0.0, *(counts / counts.sum()).round(6).tolist()),
            "max_atoms": _room(dataset),
            "heavy_counts": _largest(dataset, z > 1),
            "hydrogen_counts": _largest(dataset, z == 1),
        }
        fields |= initial_shape(self.config) | self.config.model
        return dataclasses.asdict(SymphonyConfig(**fields))

    def batch(
        self, model: torch.nn.Module, dataset: PackedDataset, indices: np.ndarray
    ) -> GrowthBatch:
        """Draw orders for some molecules and collect their fragments."""
        grower = cast(Generator, model)
        return growth_batch(
            dataset,
            indices,
            grower.config,
            grower.config.noise,
            self.config.seed,
            grower.hydrogens_apart,
            grower.config.hydrogen_share,
        )

    def loss(
        self, model: torch.nn.Module, batch: GrowthBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss of a fragment and its terms."""
        return self._in_training(model, batch)

    def validation(self) -> GrowthValidation:
        """Begin to add up losses."""
        return GrowthValidation(self.objective)

    def write_report(self, folder: Path, parts: dict[str, PackedDataset]) -> None:
        """Write the losses of the best model and the learning curve."""
        write_metrics(self, folder, parts)
        plot_terms(folder, self.terms)


class SymphonyPaperTask(SymphonyTask):
    """The `Task` of `equicalc.models.SymphonyPaper`: the published objective."""

    terms = ("focus", "position")
    objective = staticmethod(shell_loss)

    def model_settings(self, dataset: PackedDataset) -> dict[str, Any]:
        """Return the model's configuration; elements and size from the molecules."""
        fields: dict[str, Any] = {
            "elements": tuple(np.unique(dataset.column("z")).tolist()),
            "max_atoms": _room(dataset),
        }
        fields |= initial_shape(self.config) | self.config.model
        return dataclasses.asdict(SymphonyPaperConfig(**fields))


class GrowthValidation:
    """Mean losses of fragments, gathered batch by batch.

    Parameters
    ----------
    loss
        See `Loss`.
    """

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self.sums: dict[str, float] = {}
        self.n_fragments = 0

    @torch.no_grad()
    def add(self, model: torch.nn.Module, batch: GrowthBatch) -> None:
        """Evaluate a batch."""
        loss, terms = self.loss(model, batch)
        for name, value in {"loss": loss, **terms}.items():
            total = self.sums.get(name, 0.0) + len(batch) * float(value)
            self.sums[name] = total
        self.n_fragments += len(batch)

    def table(self) -> dict[str, Any]:
        """Return loss and terms, nats per fragment."""
        return {name: total / self.n_fragments for name, total in self.sums.items()}


def _room(dataset: PackedDataset) -> int:
    """Atoms of the largest molecule to make: some more than there are."""
    return int(dataset.column("n_atoms").max()) + 6


def _largest(dataset: PackedDataset, chosen: np.ndarray) -> int:
    """Largest number of chosen atoms, (n_nodes,), in a molecule."""
    n_atoms = dataset.column("n_atoms")
    owner = np.repeat(np.arange(len(n_atoms)), n_atoms)
    return int(np.bincount(owner[chosen], minlength=1).max())
