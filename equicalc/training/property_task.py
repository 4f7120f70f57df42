"""Training of networks for properties of molecules: energies, dipoles, orbitals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from equicalc.data.qm9 import TARGETS
from equicalc.models import MODELS, PropertyNetwork
from equicalc.training.config import TrainConfig
from equicalc.training.plots import plot_target_errors
from equicalc.training.property_errors import (
    VECTORS,
    PropertyValidation,
    column,
    property_batch,
    require_targets,
    scaled_residual,
    target_loss,
    units,
)
from equicalc.training.regularise import regularised, with_draw
from equicalc.training.report import write_metrics
from equicalc.training.sources import average_neighbors, initial_shape, load_parts
from equicalc.training.statistics import TargetStatistics, composition
from equicalc.training.task import Task

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from equicalc.data.packed import PackedDataset


class PropertyTask(Task):
    """The `Task` of the subclasses of `equicalc.models.PropertyNetwork`."""

    unit = "molecules"

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.targets = tuple(config.properties.targets)
        self.check_targets()

    @property
    def kind(self) -> str:
        """How the targets turn, see `equicalc.models.TargetConfig`."""
        return "scalar"

    @property
    def labels(self) -> tuple[str, ...]:
        """Targets that the molecules must have."""
        return self.targets

    def check_targets(self) -> None:
        """Raise ValueError for targets that cannot be learned."""
        if not self.targets or set(self.targets) - set(TARGETS):
            raise ValueError(
                f"properties.targets {list(self.targets)}: name some of "
                f"{', '.join(TARGETS)}, or one of {', '.join(VECTORS)}"
            )

    def load_parts(self) -> dict[str, PackedDataset]:
        """Return the molecules, see `equicalc.training.sources.load_parts`.

        Raises
        ------
        ValueError
            If they lack a target.
        """
        parts = load_parts(self.config, properties=self.labels)
        for part in parts.values():
            require_targets(part, self.labels)
        return parts

    def model_settings(self, dataset: PackedDataset) -> dict[str, Any]:
        """Return the model's configuration, completed from the training set.

        Elements, references, means, scales and the mean number of neighbours come
        from the molecules unless given.

        Raises
        ------
        ValueError
            If it says other things of the targets than ``properties`` does.
        """
        self._check_model()
        kind = MODELS[self.config.task][0]
        shape = initial_shape(self.config)
        for constant in ("targets", "references", "means", "scales", "kind"):
            shape.pop(constant, None)  # those of this run's targets
        given = shape | self.config.model
        z, n_atoms = dataset.column("z"), dataset.column("n_atoms")
        elements = np.array(given.get("elements") or np.unique(z), dtype=np.int64)
        ptr = np.concatenate([[0], np.cumsum(n_atoms, dtype=np.int64)])
        counts = composition(z, ptr, elements)
        fields: dict[str, Any] = {
            "elements": tuple(elements.tolist()),
            "targets": self.targets,
            "kind": self.kind,
        } | given
        config = kind(**fields)
        fields = self.constants(dataset, counts, elements, config.per_atom) | fields
        names = {field.name for field in dataclasses.fields(kind)}
        if "avg_neighbors" in names - fields.keys():
            neighbors = average_neighbors(dataset, config.cutoff, self.config.seed)
            fields["avg_neighbors"] = neighbors
        return dataclasses.asdict(kind(**fields))

    def _check_model(self) -> None:
        given = self.config.model
        if tuple(given.get("targets", self.targets)) != self.targets or (
            given.get("kind", self.kind) != self.kind
        ):
            raise ValueError(
                f"model says other targets or another kind than {list(self.targets)} "
                f"and {self.kind!r}, which properties.targets leads to: leave them out "
                "of model"
            )

    def constants(
        self,
        dataset: PackedDataset,
        counts: np.ndarray,
        elements: np.ndarray,
        per_atom: bool,
    ) -> dict[str, tuple]:
        """Return references, means and scales of all targets."""
        rows = [
            TargetStatistics.of(
                dataset.column(column(target)),
                counts,
                self._references(target, elements),
                per_atom,
            )
            for target in self.targets
        ]
        names = ("references", "means", "scales")
        return {name: tuple(getattr(row, name) for row in rows) for name in names}

    def _references(self, target: str, elements: np.ndarray) -> np.ndarray | None:
        """Return free atoms' values (n_elements,), or None: to be fitted."""
        known = TARGETS[target]
        if self.config.properties.references == "fit":
            return None
        if self.config.properties.references == "none" or not known.references:
            return np.zeros(len(elements))
        if unknown := sorted(set(elements.tolist()) - known.references.keys()):
            raise ValueError(
                "properties.references: atoms, but there is no "
                f"{target} of the free atoms of {unknown}: give fit or none"
            )
        return np.array([known.reference(np.array([number])) for number in elements])

    def inherited(
        self, model: torch.nn.Module, trained: torch.nn.Module
    ) -> dict[str, Tensor]:
        """Return all weights; what reads a target begins anew for other targets."""
        network, before = cast(PropertyNetwork, model), cast(PropertyNetwork, trained)
        weights = before.state_dict()
        if network.config.targets == before.config.targets:
            return weights
        part = f"{network.target_part}."
        kept = {k: v for k, v in weights.items() if not k.startswith(part)}
        own = network.state_dict().items()
        return kept | {k: v for k, v in own if k.startswith(part)}

    def batch(
        self, model: torch.nn.Module, dataset: PackedDataset, indices: np.ndarray
    ) -> Data:
        """Collect molecules into a graph with the model's cutoff and ``targets``."""
        cutoff = cast(float, model.cutoff)
        graph = property_batch(dataset, indices, cutoff, self.targets)
        return with_draw(graph, self.config, indices)

    def count(self, batch: Data) -> int:
        """Return the number of molecules."""
        return len(batch.ptr) - 1

    def loss(
        self, model: torch.nn.Module, batch: Data
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss of the targets, in units of their scales, and each."""
        network = cast(PropertyNetwork, model)

        def loss() -> tuple[Tensor, dict[str, Tensor]]:
            residual = scaled_residual(network, model(batch)["values"], batch)
            return target_loss(residual, self.targets, self.config.loss)

        return regularised(loss, model, batch, self.config.regularise)

    def validation(self) -> PropertyValidation:
        """Begin to gather predictions."""
        return PropertyValidation(self.targets, self.config.loss)

    def write_report(self, folder: Path, parts: dict[str, PackedDataset]) -> None:
        """Write the errors of the best model and the learning curve."""
        write_metrics(self, folder, parts)
        plot_target_errors(folder, units(self.targets))
