"""Evaluate a trained model on a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch

from equicalc.checkpoint import load_checkpoint
from equicalc.data.packed import PackedDataset
from equicalc.models import Mace, Potential, PropertyNetwork, evaluate
from equicalc.models.device import resolve_device
from equicalc.pretrained import weights_path
from equicalc.training.batches import in_order
from equicalc.training.config import LOSS_TERMS
from equicalc.training.distillation import needed_labels
from equicalc.training.errors import Predictions
from equicalc.training.property_errors import evaluate_properties
from equicalc.training.sources import open_source


def predict(
    model: torch.nn.Module,
    dataset: PackedDataset,
    quantities: tuple[str, ...],
    batch_size: int = 64,
) -> Predictions:
    """Return predictions and labels of some structures.

    Parameters
    ----------
    model
        A model of `equicalc.models`.
    dataset
        Labelled structures.
    quantities
        Out of energy, forces, stress, dipole, charges.
    batch_size
        Structures at a time.
    """
    device = next(model.parameters()).device
    cutoff = cast(float, model.cutoff)
    predictions = Predictions()
    for indices in in_order(len(dataset), batch_size):
        batch = dataset.batch(indices, cutoff).to(device)
        predictions.add(evaluate(model, batch, quantities), batch)
    return predictions


def evaluate_model(
    model: torch.nn.Module, dataset: PackedDataset, batch_size: int = 64
) -> tuple[dict[str, Any], Predictions]:
    """Return the errors of everything that is both labelled and predicted.

    Parameters
    ----------
    model
        A model of `equicalc.models`.
    dataset
        Labelled structures.
    batch_size
        Structures at a time.

    Returns
    -------
    table, predictions
        See `Predictions.table`.
    """
    predicted = {"energy", "forces", "stress"}
    if getattr(model.config, "dipole", False):
        predicted |= {"dipole", "charges"}
    fields = dataset.fields
    quantities = tuple(t for t in LOSS_TERMS if t in fields and t in predicted)
    predictions = predict(model, dataset, quantities, batch_size)
    names = dataset.meta.get("kinds")
    kinds = dataset.column("kind") if "kind" in fields and names else None
    return predictions.table(kinds, names or ()), predictions


def evaluate_dataset(
    checkpoint: str | Path,
    dataset: str | Path,
    *,
    output: str | Path | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    backend: str = "auto",
) -> dict[str, Any]:
    """Return the errors of a model on a data set.

    Parameters
    ----------
    checkpoint
        Name of a shipped potential or network of properties, or the file of one.
    dataset
        A packed data set or any file that can be read, with labels. Properties may
        stand in the info of atoms, see `equicalc.data.atoms_to_record`.
    output
        A folder for `metrics.json` and, of a potential, `metrics.csv` and `parity.png`.
    batch_size
        Structures at a time.
    device
        Where the model runs: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    backend
        Kernel backend.

    Returns
    -------
    dict
        `n_structures`, `units` and, by quantity, `{"mae", "rmse"}`; of a potential the
        same by kind of structure under `kinds` and by atomic number under `elements`.

    Raises
    ------
    FileNotFoundError
        If there is no such model.
    ValueError
        If the model predicts neither energies of structures nor properties, the data
        set lacks these labels, or a setting makes no sense.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give 1 or more")
    where = resolve_device(device)
    model, _ = load_checkpoint(weights_path(checkpoint), where, backend=backend)
    if not isinstance(model, (Potential, Mace, PropertyNetwork)):
        raise ValueError(
            f"{checkpoint} is a {type(model).__name__}, which has no energies of "
            "structures: name a potential or a network of properties"
        )
    if isinstance(model, PropertyNetwork):
        needed_labels(model)  # refuses a network that was trained on noise
        source = open_source(str(dataset), model.config.targets)
        table = evaluate_properties(model, source, batch_size)
        if output is not None:
            Path(output).mkdir(parents=True, exist_ok=True)
            (Path(output) / "metrics.json").write_text(json.dumps(table, indent=1))
        return table
    source = open_source(str(dataset))
    if "energy" not in source.fields:
        raise ValueError(
            f"{dataset} has {len(source)} structures with {', '.join(source.fields)}: "
            "an evaluation of a potential needs energies"
        )
    table, predictions = evaluate_model(model, source, batch_size)
    if output is not None:
        from equicalc.training.report import write_evaluation

        write_evaluation(Path(output), table, predictions)
    return table
