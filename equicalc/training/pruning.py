"""Take degrees out of a potential and train what is left: error and speed, compared."""

from __future__ import annotations

import logging
import shutil
import statistics
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.data.packed import PackedDataset
from equicalc.data.packing import write_packed
from equicalc.header import read_header
from equicalc.models import AnalyticPotential, Potential, evaluate, pruned
from equicalc.training.batches import in_order
from equicalc.training.config import (
    DataConfig,
    LossConfig,
    OptimizerConfig,
    StopConfig,
    TrainConfig,
    TrainerConfig,
)
from equicalc.training.evaluation import evaluate_model
from equicalc.training.fit import train
from equicalc.training.report import write_json
from equicalc.training.sources import load_parts, open_source

logger = logging.getLogger(__name__)

#: Structures that speed is measured on, in one batch, and how many times.
TIMED, REPEATS = 32, 5
#: Structures that are enough to validate and to test.
N_VALID, N_TEST = 500, 1000


@dataclass(frozen=True)
class PruneSettings:
    """How what is left of a network is trained.

    Attributes
    ----------
    max_time
        "HH:MM:SS" or seconds; 0: not at all.
    lr
        Largest learning rate; it decays against the time.
    batch_size
        Structures per step.
    fractions
        Shares of the structures, whole molecules together; errors are those of
        ``test``, of which 1000 at most are taken.
    seed
        Of the split and of the order of the structures.
    trainer
        Device, threads and so on.
    """

    max_time: str | float = "00:10:00"
    lr: float = 1e-3
    batch_size: int = 16
    fractions: dict[str, float] = field(
        default_factory=lambda: {"train": 0.8, "valid": 0.1, "test": 0.1}
    )
    seed: int = 0
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass(frozen=True)
class PruneResult:
    """What pruning has led to.

    Attributes
    ----------
    checkpoint
        The smaller network, trained; a model for `equicalc.EquiCalculator`.
    rows
        Of the whole, the pruned and the trained network: parameters, errors on the
        test structures (eV, as in `equicalc.training.errors.REPORTED`), milliseconds
        for energies and forces of a structure in a batch.
    """

    checkpoint: Path
    rows: list[dict[str, Any]]


def prune(
    model: str | Path,
    data: str | Path,
    drop: Collection[int],
    output: str | Path,
    settings: PruneSettings | None = None,
) -> PruneResult:
    """Drop degrees of a potential, fine-tune it, and compare.

    1. Structures without energies are labelled by the whole network: the smaller one
       learns from it.
    2. The smaller network goes to ``pruned.safetensors``.
    3. Fine-tuning, see `equicalc.training.train`, in ``fine-tuning``.
    4. Errors and speeds of all three; the best network is ``best.safetensors``.

    Parameters
    ----------
    model
        File of a checkpoint.
    data
        A packed data set or any file of structures that can be read.
    drop
        Degrees l > 0 to drop.
    output
        Folder for checkpoints, log and ``prune.json``.
    settings
        Of the fine-tuning.

    Returns
    -------
    PruneResult

    Raises
    ------
    ValueError
        If the network cannot be pruned, or the structures are too few to be split.
    """
    settings = settings or PruneSettings()
    folder = Path(output)
    whole, card = load_checkpoint(model, backend=settings.trainer.backend)
    smaller = cast(Potential, pruned(whole, drop))
    folder.mkdir(parents=True, exist_ok=True)
    # 1. labels
    source, origin = str(data), "the data"
    if "energy" not in open_source(source).fields:
        origin = "the whole network"
        digest = read_header(model)["sha256"]
        source = _labelled(cast(Potential, whole), digest, open_source(source), folder)
    # 2. smaller network
    note = {"pruned_from": str(model), "dropped_degrees": sorted(drop)}
    start = save_checkpoint(folder / "pruned.safetensors", smaller, {**card, **note})
    # 3. fine-tuning
    config = _config(smaller, source, start, folder / "fine-tuning", settings)
    config.card.update({**_inherited(card), **note, "labels": origin})
    parts = load_parts(config, config.loss.weights())
    best = train(config, resume=False) if settings.max_time else start
    # 4. comparison
    networks = {"whole": Path(model), "pruned": start, "fine-tuned": best}
    rows = [
        _row(name, path, parts["test"], settings.trainer.backend)
        for name, path in networks.items()
    ]
    tuned, card = load_checkpoint(best, backend=settings.trainer.backend)
    checkpoint = save_checkpoint(folder / "best.safetensors", tuned, card)
    write_json(folder / "prune.json", {"labels": origin, **note, "networks": rows})
    return PruneResult(checkpoint, rows)


def _labelled(
    model: Potential, digest: str, dataset: PackedDataset, folder: Path
) -> str:
    """Write structures with the energies and forces that a network gives them.

    Labels of an earlier run stay if they are those of this network and data.
    """
    path = folder / "labels"
    origin = {"source": str(dataset.path.resolve()), "network": digest}
    if path.exists() and origin.items() <= PackedDataset(path).meta.items():
        return str(path)
    shutil.rmtree(path, ignore_errors=True)
    logger.info("no energies in %s: the network labels it", dataset.path)
    note = {"labels": "of the whole network", **origin}
    write_packed(path, _records(model, dataset), note)
    return str(path)


def _records(model: Potential, dataset: PackedDataset) -> Iterator[dict[str, Any]]:
    extra = ("dipole", "charges") if model.config.dipole else ()
    outputs = ("energy", "forces", *extra)
    engine = AnalyticPotential.build(model) or model
    for indices in in_order(len(dataset), 64):
        graph = dataset.batch(indices, model.cutoff)
        found = evaluate(engine, graph, outputs)
        for k, (start, stop) in enumerate(zip(graph["ptr"][:-1], graph["ptr"][1:])):
            atoms = slice(int(start), int(stop))
            record = {"z": graph["z"][atoms].numpy(), "pos": graph["pos"][atoms]}
            if graph["pbc"][k].any():
                record |= {"cell": graph["cell"][k], "pbc": graph["pbc"][k]}
            for name, value in found.items():
                per_atom = name in ("forces", "charges")
                record[name] = value[atoms] if per_atom else value[k]
            yield {name: np.asarray(value) for name, value in record.items()}


def _config(
    model: Potential, source: str, start: Path, folder: Path, settings: PruneSettings
) -> TrainConfig:
    """Return the run: the losses of what is labelled, references as they are."""
    labelled = set(open_source(source).fields)
    electric = {"dipole", "charges"} & labelled if model.config.dipole else set()
    n_train = settings.fractions["train"] * len(open_source(source))
    per_epoch = max(int(n_train) // settings.batch_size, 1)
    every = settings.trainer.val_every_steps or min(per_epoch, 500)
    return TrainConfig(
        output=str(folder),
        data=DataConfig(
            train=source,
            fractions=settings.fractions,
            n_valid=N_VALID,
            n_test=N_TEST,
        ),
        model={"reference_energies": model.config.reference_energies},
        loss=LossConfig(
            energy=15.0,
            forces=float("forces" in labelled),
            dipole=0.3 * ("dipole" in electric),
            charges=0.3 * ("charges" in electric),
            kind={
                "energy": "huber",
                "forces": "norm",
                "dipole": "l1",
                "charges": "l1",
            },
            huber_delta=0.02,
        ),
        optimizer=OptimizerConfig(
            lr=settings.lr,
            batch_size=settings.batch_size,
            schedule="time-cosine",
            warmup_steps=50,
        ),
        stop=StopConfig(max_time=settings.max_time),
        trainer=replace(settings.trainer, val_every_steps=every),
        init=str(start),
        seed=settings.seed,
    )


def _inherited(card: dict[str, Any]) -> dict[str, Any]:
    """Return what stays true of a network that is smaller."""
    kept = ("level_of_theory", "licence", "limits")
    return {name: card[name] for name in kept if name in card}


def _row(name: str, path: Path, test: PackedDataset, backend: str) -> dict[str, Any]:
    """Parameters, errors and speed of a network."""
    model, _ = load_checkpoint(path, backend=backend)
    table, _ = evaluate_model(model, test)
    row: dict[str, Any] = {
        "network": name,
        "degrees": " ".join(map(str, read_header(path)["model"]["config"]["ls"])),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    for quantity in ("energy_per_atom", "forces", "dipole"):
        if quantity in table:
            row[f"{quantity} MAE_{table['units'][quantity]}"] = table[quantity]["mae"]
    row["time_ms/structure"] = _milliseconds(cast(Potential, model), test)
    return row


def _milliseconds(model: Potential, dataset: PackedDataset) -> float:
    """Median time for energies and forces, ms for a structure in a batch."""
    n = min(len(dataset), TIMED)
    engine = AnalyticPotential.build(model.requires_grad_(False)) or model
    graph = dataset.batch(np.arange(n), model.cutoff)
    outputs = ("energy", "forces")
    evaluate(engine, graph, outputs)  # kernels are compiled, tables built
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        evaluate(engine, graph, outputs)
        times.append(time.perf_counter() - begun)
    return 1000.0 * statistics.median(times) / n
