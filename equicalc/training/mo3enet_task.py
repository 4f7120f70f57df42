"""Training of autoencoders of molecules: points that stand for the atoms."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from equicalc.models.cloud import Cloud
from equicalc.models.mo3enet import Mo3ENet
from equicalc.models.mo3enet_config import Mo3ENetConfig
from equicalc.models.slots import PLACES
from equicalc.training.config import TrainConfig
from equicalc.training.mixture import mixture_loss, mixture_terms
from equicalc.training.plots import plot_terms
from equicalc.training.reconstruction import ReconstructionValidation
from equicalc.training.report import write_metrics
from equicalc.training.sources import initial_shape, load_parts
from equicalc.training.task import Task

if TYPE_CHECKING:
    from equicalc.data.packed import PackedDataset


#: Points of the swarm beyond those of the slots, unless given.
SPARE_POINTS = 4


class Width(nn.Module):
    """Width of the Gaussians: it shrinks as the reconstruction gets good enough.

    A module, so that a checkpoint of the run holds it.

    Parameters
    ----------
    sigma : Angstrom
        The first width.
    """

    THRESHOLD = 0.35  # of the running mean of the missing overlap
    SHRINK = 0.99
    MEMORY = 0.95
    NEGLIGIBLE = 1e-3  # overlap of the atoms with one another: narrow enough

    sigma: Tensor
    missing: Tensor

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.register_buffer("sigma", torch.tensor(sigma))
        self.register_buffer("missing", torch.tensor(1.0))

    def step(self, terms: dict[str, Tensor]) -> None:
        """Take note of the `mixture_terms` of a step of the training."""
        self.missing.lerp_(terms["missing"].to(self.missing), 1 - self.MEMORY)
        if self.missing < self.THRESHOLD and terms["self"] > self.NEGLIGIBLE:
            self.sigma.mul_(self.SHRINK)


class Mo3ENetTask(nn.Module, Task):
    """The `Task` of `equicalc.models.Mo3ENet`; it needs no labels."""

    unit = "molecules"

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        fields = initial_shape(config) | config.model
        self.width = Width(Mo3ENetConfig(**fields).sigma)

    def load_parts(self) -> dict[str, PackedDataset]:
        """Return the molecules."""
        return load_parts(self.config, labels=())

    def model_settings(self, dataset: PackedDataset) -> dict[str, Any]:
        """Return the model's configuration, completed from the training set.

        Elements, radius, slots and number of points come from the molecules unless
        given.
        """
        given = initial_shape(self.config) | self.config.model
        elements = given.get("elements") or np.unique(dataset.column("z")).tolist()
        fields: dict[str, Any] = {
            "elements": tuple(elements),
            "radius": _radius(dataset),
            "slots": _most_atoms(dataset, elements),
        }
        fields |= given
        fields.setdefault("points", sum(fields["slots"]) + SPARE_POINTS)
        return dataclasses.asdict(Mo3ENetConfig(**fields))

    def batch(
        self, model: torch.nn.Module, dataset: PackedDataset, indices: np.ndarray
    ) -> Cloud:
        """Collect molecules, their positions noised and rescaled."""
        model = cast(Mo3ENet, model)
        graph = dataset.batch(indices)
        rng = np.random.default_rng([self.config.seed, len(dataset), *indices.tolist()])
        pos, n_graphs = graph["pos"], len(indices)
        noise = rng.standard_normal(pos.shape) * model.config.noise
        factor = 1 + rng.standard_normal(n_graphs) * model.config.stretch
        factor = torch.from_numpy(factor)[graph["batch"]].unsqueeze(1)
        graph["pos"] = pos * factor + torch.from_numpy(noise)
        return model.cloud(graph)

    def loss(
        self, model: torch.nn.Module, batch: Cloud
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch and its terms; the width takes note."""
        model = cast(Mo3ENet, model)
        swarm = model.decode(model.encode(batch))
        terms = mixture_terms(swarm, batch, self.width.sigma)
        loss = mixture_loss(terms)
        detached = {name: value.detach() for name, value in terms.items()}
        self.width.step(detached)
        return loss, detached | {"sigma": self.width.sigma.clone()}

    def validation(self) -> ReconstructionValidation:
        """Begin to gather deviations."""
        return ReconstructionValidation()

    def write_report(self, folder: Path, parts: dict[str, PackedDataset]) -> None:
        """Write the errors of the best model and the learning curve."""
        write_metrics(self, folder, parts)
        plot_terms(folder, ("overlap", "orphan", "stray"))


def _radius(dataset: PackedDataset) -> float:
    """Largest distance of an atom from the centroid, of a sample, Angstrom."""
    graph = dataset.batch(np.arange(min(len(dataset), 5000)))
    pos, batch, size = graph["pos"], graph["batch"], graph["ptr"].diff()
    centre = pos.new_zeros(len(size), 3).index_add(0, batch, pos) / size.unsqueeze(1)
    return round(float((pos - centre[batch]).norm(dim=1).max()), 3)


def _most_atoms(dataset: PackedDataset, elements: Sequence[int]) -> tuple[int, ...]:
    """Largest number of atoms of every element in one molecule."""
    z, n_atoms = dataset.column("z"), dataset.column("n_atoms")
    first = np.cumsum(n_atoms) - n_atoms
    return tuple(
        min(int(np.add.reduceat(z == number, first, dtype=int).max()), PLACES)
        for number in elements
    )
