"""What each kind of model is trained for."""

from __future__ import annotations

from collections.abc import Callable

from equicalc.training.config import TrainConfig
from equicalc.training.head_task import HeadTask
from equicalc.training.mo3enet_task import Mo3ENetTask
from equicalc.training.potential_task import PotentialTask
from equicalc.training.property_errors import VECTORS
from equicalc.training.property_task import PropertyTask
from equicalc.training.symphony_task import SymphonyPaperTask, SymphonyTask
from equicalc.training.task import Task
from equicalc.training.vector_task import VectorTask


def property_task(config: TrainConfig) -> PropertyTask:
    """Return the task of the properties, or of the vector, that a run names."""
    vectors = VECTORS.keys() & set(config.properties.targets)
    return VectorTask(config) if vectors else PropertyTask(config)


#: Name in configurations, a key of `equicalc.models.MODELS` -> task.
TASKS: dict[str, Callable[[TrainConfig], Task]] = {
    "equitriton": property_task,
    "head": HeadTask,
    "mo3enet": Mo3ENetTask,
    "potential": PotentialTask,
    "qm9net": property_task,
    "symphony": SymphonyTask,
    "symphony-paper": SymphonyPaperTask,
}

#: Tasks that have remedies against irreps without use.
REGULARISED = ("equitriton", "potential", "qm9net")


def task_of(config: TrainConfig) -> Task:
    """Return what a run is for.

    Raises
    ------
    ValueError
        If no model of this name can be trained, or the task lacks a setting.
    """
    if config.task not in TASKS:
        raise ValueError(
            f"task: no training of {config.task!r}; choose from {', '.join(TASKS)}"
        )
    if config.regularise is not None and config.task not in REGULARISED:
        raise ValueError(
            f"regularise: not for {config.task!r}, only for {', '.join(REGULARISED)}"
        )
    return TASKS[config.task](config)
