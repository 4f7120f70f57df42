"""Training of heads: properties of molecules from their embedding."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equicalc.checkpoint import load_checkpoint
from equicalc.data.fragment_batch import OnDevice
from equicalc.data.properties import PropertyTable, read_properties
from equicalc.header import read_header
from equicalc.models.cloud import point_cloud
from equicalc.models.head import SHAPES, Head, HeadConfig
from equicalc.models.mo3enet import Mo3ENet
from equicalc.models.reconstruction import lift_symmetry
from equicalc.training.batches import in_order
from equicalc.training.config import TrainConfig
from equicalc.training.plots import plot_terms
from equicalc.training.report import write_metrics
from equicalc.training.sources import expand_path, shares_to_draw, split_rows
from equicalc.training.task import Task


@dataclass(frozen=True)
class EmbeddedBatch(OnDevice):
    """Embeddings and what should be read from them.

    Attributes
    ----------
    g : (n, 3, bottleneck)
        Embeddings.
    values : (n, ...)
        Properties in units of the head's scale, references left out.
    """

    g: Tensor
    values: Tensor

    def __len__(self) -> int:
        return len(self.g)


@dataclass(frozen=True)
class Embedded:
    """Molecules, embedded once for all epochs.

    Attributes
    ----------
    g : (n, 3, bottleneck)
        Embeddings.
    counts : (n, n_elements)
        Atoms of every element.
    values : (n, ...)
        Properties.
    """

    g: Tensor
    counts: NDArray[np.float64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.g)

    def subset(self, rows: NDArray[np.int64]) -> Embedded:
        """Return some of the molecules."""
        return Embedded(self.g[rows], self.counts[rows], self.values[rows])


class HeadTask(Task):
    """The `Task` of `equicalc.models.Head`: `init` names the autoencoder.

    `data` names files that `equicalc.data.properties` reads, `model.targets` the
    properties in them. The encoder does not learn, so that every molecule is embedded
    once.
    """

    unit = "molecules"

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        if config.init is None:
            raise ValueError(
                "init: a head needs the autoencoder that embeds the molecules; give "
                "`init: mo3enet`, or the file of a checkpoint"
            )

    @cached_property
    def shape(self) -> HeadConfig:
        """The model's configuration but for what comes from the data."""
        begun = read_header(expand_path(str(self.config.init)))["model"]
        kinds = {"mo3enet": {"encoder": begun["config"]}, "head": begun["config"]}
        if begun["name"] not in kinds:
            raise ValueError(
                f"init: {self.config.init} holds a {begun['name']}; a mo3enet is needed"
            )
        return HeadConfig(**(kinds[begun["name"]] | self.config.model))

    def load_parts(self) -> dict[str, Any]:
        """Return the embedded molecules for ``train``, ``valid`` and ``test``.

        Raises
        ------
        ValueError
            If a property is missing, or its shape is not that of the head's kind.
        """
        data = self.config.data
        paths = {"train": data.train, "valid": data.valid, "test": data.test}
        tables = {
            name: self._checked(read_properties(expand_path(path), self.shape.targets))
            for name, path in paths.items()
            if path is not None
        }
        rows = {name: np.arange(len(table)) for name, table in tables.items()}
        if shares := shares_to_draw(data, tables):
            rows |= split_rows(len(tables["train"]), shares, self.config.seed)
        parts = {}
        for name, chosen in rows.items():
            limit = getattr(data, f"n_{name}")
            order = np.random.default_rng(self.config.seed).permutation(len(chosen))
            kept = np.sort(chosen[order[:limit]])
            parts[name] = self._embedded(tables.get(name, tables["train"]), kept)
        return parts

    def _checked(self, table: PropertyTable) -> PropertyTable:
        kind, names = self.shape.kind, self.shape.targets
        shape = table.values.shape[1:]
        needed = SHAPES[kind] or (len(names),)
        if shape != needed:
            raise ValueError(
                f"targets {', '.join(names)} have the shape {shape}, but a head of "
                f"kind {kind!r} is trained on {needed}; set model.kind"
            )
        return table

    @torch.no_grad()
    def _embedded(self, table: PropertyTable, rows: NDArray[np.int64]) -> Embedded:
        model, _ = load_checkpoint(
            expand_path(str(self.config.init)), backend=self.config.trainer.backend
        )
        elements = self.shape.encoder.elements
        chosen = table.subset(rows)
        embeddings = []
        for batch in in_order(len(chosen), 256):
            graph = chosen.graph(int(batch[0]), int(batch[-1]) + 1)
            cloud = point_cloud(graph, elements, torch.float32)
            embeddings.append(model.encoder(lift_symmetry(cloud)))  # pyright: ignore[reportCallIssue]
        return Embedded(torch.cat(embeddings), chosen.counts(elements), chosen.values)

    def model_settings(self, dataset: Embedded) -> dict[str, Any]:
        """Return the model's configuration with references and scale of the data."""
        values, fields = dataset.values, {}
        if self.shape.kind == "scalar":
            references = np.linalg.lstsq(dataset.counts, values, rcond=None)[0]
            left = values - dataset.counts @ references
            fields["references"] = tuple(map(tuple, references.T.tolist()))
            fields["scale"] = tuple(np.sqrt(np.square(left).mean(0)).tolist())
        else:
            fields["scale"] = (float(np.sqrt(np.square(values).mean())),)
        settings = dataclasses.asdict(self.shape)
        given = {name: settings[name] for name in fields if settings[name]}
        return settings | fields | given

    def start_from(self, model: torch.nn.Module, trained: torch.nn.Module) -> None:
        """Give a new head the encoder of an autoencoder, or all weights of a head."""
        if isinstance(trained, Mo3ENet):
            cast(Head, model).take_encoder(trained)
        else:
            super().start_from(model, trained)

    def batch(
        self, model: torch.nn.Module, dataset: Embedded, indices: np.ndarray
    ) -> EmbeddedBatch:
        """Collect embeddings, and properties in the head's own units."""
        config = cast(Head, model).config
        values = dataset.values[indices]
        if config.kind == "scalar":
            values = values - dataset.counts[indices] @ np.array(config.references).T
            values = values / np.array(config.scale)
        else:
            values = values / config.scale[0]
        return EmbeddedBatch(dataset.g[indices], torch.from_numpy(values).float())

    def loss(
        self, model: torch.nn.Module, batch: EmbeddedBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean absolute error in the head's own units."""
        wrong = cast(Head, model).from_embedding(batch.g) - batch.values
        loss = wrong.abs().mean()
        return loss, {"error": loss.detach()}

    def validation(self) -> HeadValidation:
        """Begin to add up errors."""
        return HeadValidation()

    def write_report(self, folder: Path, parts: dict[str, Any]) -> None:
        """Write the errors of the best model and the learning curve."""
        write_metrics(self, folder, parts, batch_size=256)
        plot_terms(folder, ("loss",))


class HeadValidation:
    """Mean absolute errors of the targets, gathered batch by batch."""

    def __init__(self) -> None:
        self.errors: list[Tensor] = []
        self.names: tuple[str, ...] = ()
        self.scale: NDArray[np.float64] = np.ones(0)

    @torch.no_grad()
    def add(self, model: torch.nn.Module, batch: EmbeddedBatch) -> None:
        """Evaluate a batch."""
        head = cast(Head, model)
        self.names, self.scale = head.config.targets, np.array(head.config.scale)
        wrong = (head.from_embedding(batch.g) - batch.values).abs().double()
        self.errors.append(wrong.reshape(len(batch), len(self.scale), -1).mean(2))

    def table(self) -> dict[str, Any]:
        """Return the loss, and the mean absolute error of every target in its unit."""
        mean = torch.cat(self.errors).mean(0).cpu().numpy()  # (n_targets,)
        return {"loss": float(mean.mean()), **self._in_units(mean)}

    def _in_units(self, mean: NDArray[np.float64]) -> dict[str, float]:
        return {name: float(x) for name, x in zip(self.names, mean * self.scale)}
