"""What a finished run or an evaluation leaves on disk: metrics and plots."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equicalc.checkpoint import load_checkpoint
from equicalc.data.packed import PackedDataset
from equicalc.training.batches import in_order
from equicalc.training.config import TrainConfig
from equicalc.training.errors import Predictions
from equicalc.training.evaluation import evaluate_model
from equicalc.training.plots import plot_learning_curve, plot_parity

if TYPE_CHECKING:
    import torch

    from equicalc.training.task import Task

#: The best model of a run, in its folder.
BEST = "best.safetensors"


def write_report(
    folder: Path, config: TrainConfig, parts: dict[str, PackedDataset]
) -> dict[str, Any]:
    """Evaluate the best model of a run on validation and test structures.

    Writes `metrics.json`, `learning_curve.png` and `parity_<part>.png`; can be
    called again at any time.

    Parameters
    ----------
    folder
        Output of the run.
    config
        The run.
    parts
        See `load_parts`.
    """
    model, _ = load_checkpoint(folder / BEST, backend=config.trainer.backend)
    metrics = {}
    for name in [name for name in parts if name != "train"]:
        metrics[name], predictions = evaluate_model(
            model, parts[name], config.optimizer.batch_size
        )
        plot_parity(predictions, folder / f"parity_{name}.png")
    write_json(folder / "metrics.json", metrics)
    plot_learning_curve(folder)
    return metrics


def write_metrics(
    task: Task, folder: Path, parts: dict[str, Any], batch_size: int | None = None
) -> None:
    """Validate the best model of a run and write `metrics.json`.

    Parameters
    ----------
    task
        What the model is for.
    folder
        Output of the run.
    parts
        See `Task.load_parts`; all but the training set are used.
    batch_size
        Of the validation; that of the training by default.
    """
    model, _ = load_checkpoint(folder / BEST, backend=task.config.trainer.backend)
    batch_size = batch_size or task.config.optimizer.batch_size
    metrics = {
        name: validated(task, model, part, batch_size)
        for name, part in parts.items()
        if name != "train"
    }
    write_json(folder / "metrics.json", metrics)


def validated(
    task: Task, model: torch.nn.Module, dataset: Any, batch_size: int
) -> dict[str, Any]:
    """Return the errors of a model, see `equicalc.training.task.Validation.table`.

    Parameters
    ----------
    task
        What the model is for.
    model
        The network.
    dataset
        One of the parts of `Task.load_parts`.
    batch_size
        Of the validation.
    """
    validation = task.validation()
    for indices in in_order(len(dataset), batch_size):
        validation.add(model, task.batch(model, dataset, indices))
    return validation.table()


def write_evaluation(
    folder: Path, table: dict[str, Any], predictions: Predictions
) -> None:
    """Write `metrics.json`, `metrics.csv` and `parity.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", table)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["subset", "quantity", "mae", "rmse", "unit"])
        writer.writerows(metric_rows(table))
    plot_parity(predictions, folder / "parity.png")


def metric_rows(table: dict[str, Any]) -> Iterator[tuple[str, str, float, float, str]]:
    """Yield subset, quantity, mae, rmse and unit of a table of errors."""
    units = table["units"]
    subsets = {"all": table, **table.get("kinds", {})}
    for subset, errors in subsets.items():
        for quantity, unit in units.items():
            yield subset, quantity, *errors[quantity].values(), unit
    for quantity, by_element in table["elements"].items():
        for number, errors in by_element.items():
            yield f"Z={number}", quantity, *errors.values(), units[quantity]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary, readable, atomically."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)
