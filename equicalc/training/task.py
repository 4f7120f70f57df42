"""What a kind of model brings to a training run; the loop is the same for all."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from torch import Tensor, nn

if TYPE_CHECKING:
    from equicalc.training.config import TrainConfig

#: Numbers of a model's configuration that change no weight's shape.
CONSTANTS = (
    "cutoff", "avg_neighbors", "energy_scale", "reference_energies",
    "references", "means", "scales", "mean", "scale",
)  # fmt: skip

#: Measures a model by other means than its loss: numbers by name.
Check = Callable[[nn.Module], dict[str, float]]


class Validation(Protocol):
    """Errors of a model on some batches."""

    def add(self, model: nn.Module, batch: Any) -> None:
        """Evaluate a batch."""
        ...

    def table(self) -> dict[str, Any]:
        """Return the ``loss`` and other errors: numbers, or tables of numbers."""
        ...


class Task(ABC):
    """Batches, loss, validation and report of one kind of model.

    Parameters
    ----------
    config : TrainConfig
        The run.

    Attributes
    ----------
    unit : str
        What is counted: "structures", say.
    """

    config: TrainConfig
    unit: str

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    @abstractmethod
    def load_parts(self) -> dict[str, Any]:
        """Return data sets for ``train``, ``valid`` and, if any, ``test``."""

    @abstractmethod
    def model_settings(self, dataset: Any) -> dict[str, Any]:
        """Return the model's configuration, completed from the training set."""

    def start_from(self, model: nn.Module, trained: nn.Module) -> None:
        """Give a new model the weights of the one that `init` names.

        Raises
        ------
        ValueError
            If they have different shapes.
        """
        try:
            model.load_state_dict(self.inherited(model, trained))
        except RuntimeError as error:
            raise ValueError(
                f"init: {self.config.init} has {_differences(model, trained)}; leave "
                "these out of `model` to take those of the checkpoint"
            ) from error

    def inherited(self, model: nn.Module, trained: nn.Module) -> dict[str, Tensor]:
        """Return the weights that a new model takes over from a trained one."""
        return trained.state_dict()

    def card(self, model: nn.Module) -> dict[str, Any]:
        """Return what a user of the trained model must know."""
        return {}

    @abstractmethod
    def batch(self, model: nn.Module, dataset: Any, indices: np.ndarray) -> Any:
        """Prepare a batch, a function of its arguments alone.

        Nothing but the configuration of the model may be used.
        """

    def count(self, batch: Any) -> int:
        """Return how many units a batch holds."""
        return len(batch)

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch and its terms, detached."""

    @abstractmethod
    def validation(self) -> Validation:
        """Begin a validation."""

    @abstractmethod
    def write_report(self, folder: Path, parts: dict[str, Any]) -> None:
        """Evaluate the best model of a finished run and write ``metrics.json``."""


def _differences(model: nn.Module, trained: nn.Module, most: int = 3) -> str:
    """Name the first settings of a checkpoint that a new model has otherwise."""
    before = dataclasses.asdict(cast(Any, trained.config))
    now = dataclasses.asdict(cast(Any, model.config))
    differ = [name for name in before if now.get(name) != before[name]]
    shaping = [name for name in differ if name not in CONSTANTS] or differ
    return ", ".join(
        f"{name} {before[name]} and not {now.get(name)}" for name in shaping[:most]
    )
