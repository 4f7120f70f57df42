"""What a kind of model brings to a training run; the loop is the same for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from equicalc.data.packed import PackedDataset
    from equicalc.training.config import TrainConfig

#: Measures a model by other means than its loss: numbers by name.
Check = Callable[[torch.nn.Module], dict[str, float]]


class Validation(Protocol):
    """Errors of a model on some batches."""

    def add(self, model: torch.nn.Module, batch: Any) -> None:
        """Evaluate a batch."""
        ...

    def table(self) -> dict[str, Any]:
        """Return the ``loss`` and other errors: numbers, or tables of numbers."""
        ...


class Task(Protocol):
    """Batches, loss, validation and report of one kind of model.

    Attributes
    ----------
    config
        The run.
    unit
        What is counted: "structures", say.
    """

    config: TrainConfig
    unit: str

    def load_parts(self) -> dict[str, PackedDataset]:
        """Return the structures for ``train``, ``valid`` and, if any, ``test``."""
        ...

    def model_settings(self, dataset: PackedDataset) -> dict[str, Any]:
        """Return the model's configuration, completed from the training set."""
        ...

    def batch(
        self, model: torch.nn.Module, dataset: PackedDataset, indices: np.ndarray
    ) -> Any:
        """Prepare a batch, a function of its arguments alone.

        Nothing but the configuration of the model may be used.
        """
        ...

    def count(self, batch: Any) -> int:
        """Return how many units a batch holds."""
        ...

    def loss(
        self, model: torch.nn.Module, batch: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch and its terms, detached."""
        ...

    def validation(self) -> Validation:
        """Begin a validation."""
        ...

    def write_report(self, folder: Path, parts: dict[str, PackedDataset]) -> None:
        """Evaluate the best model of a finished run and write ``metrics.json``."""
        ...
