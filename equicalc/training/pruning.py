"""Take degrees out of a network and train what is left: error and speed, compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.data.packed import PackedDataset
from equicalc.header import read_header
from equicalc.models import Potential, PropertyNetwork, pruned, taps_of
from equicalc.training.config import (
    DataConfig,
    LossConfig,
    OptimizerConfig,
    PropertyConfig,
    StopConfig,
    TrainConfig,
    TrainerConfig,
    seconds,
)
from equicalc.training.distillation import Teacher, answering, labelled, needed_labels
from equicalc.training.fit import train
from equicalc.training.limits import require_at_least, require_positive
from equicalc.training.report import validated, write_json
from equicalc.training.sources import open_source, split_rows
from equicalc.training.task import Task
from equicalc.training.tasks import task_of

#: Structures that speed is measured on, in one batch, and how many times.
TIMED, REPEATS = 32, 5
#: Structures that are enough to validate and to test.
N_VALID, N_TEST = 500, 1000
#: Errors that the comparison leaves out: of whole energies, and of charges.
LEFT_OUT = ("energy", "charges")


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

    Raises
    ------
    ValueError
        If a setting makes no sense.
    """

    max_time: str | float = "00:10:00"
    lr: float = 1e-3
    batch_size: int = 16
    fractions: dict[str, float] = field(
        default_factory=lambda: {"train": 0.8, "valid": 0.1, "test": 0.1}
    )
    seed: int = 0
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        seconds(self.max_time)
        require_positive(self, "lr")
        require_at_least(self, 1, "batch_size")
        require_at_least(self, 0, "seed")


@dataclass(frozen=True)
class PruneResult:
    """What pruning has led to.

    Attributes
    ----------
    checkpoint
        The smaller network, trained; a model for `equicalc.EquiCalculator` or
        `equicalc.calculators.PropertyPredictor`.
    labels
        Whose labels the networks are compared on: ``"the data"`` or ``"the whole
        network"``.
    rows
        Of the whole, the pruned and, if it was, the trained network: parameters,
        errors on the test structures in the units that their names tell, milliseconds
        for all that is predicted of a structure in a batch.
    """

    checkpoint: Path
    labels: str
    rows: list[dict[str, Any]]


def prune(
    model: str | Path,
    data: str | Path,
    drop: Collection[int],
    output: str | Path,
    settings: PruneSettings | None = None,
) -> PruneResult:
    """Drop degrees of a network, fine-tune it, and compare.

    1. Structures without energies, or without a property that the network predicts,
       are labelled by the whole network: the smaller one learns from it.
    2. The smaller network goes to ``pruned.safetensors``.
    3. Fine-tuning, see `equicalc.training.train`, in ``fine-tuning``.
    4. Errors and speeds of all; the best network is ``best.safetensors``.

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
    header = read_header(model)
    loaded, card = load_checkpoint(model, backend=settings.trainer.backend)
    smaller = cast(Teacher, pruned(loaded, drop))  # no others can be pruned
    whole = cast(Teacher, loaded)
    folder.mkdir(parents=True, exist_ok=True)
    # 1. labels
    source, origin = str(data), "the data"
    structures = open_source(source, _targets(whole))
    _check_size(structures, settings)
    if set(needed_labels(whole)) - set(structures.fields):
        origin = "the whole network"
        source = str(labelled(whole, header["sha256"], structures, folder))
    # 2. smaller network
    note = {"pruned_from": str(model), "dropped_degrees": sorted(drop)}
    start = save_checkpoint(folder / "pruned.safetensors", smaller, {**card, **note})
    # 3. fine-tuning
    config = replace(
        _config(smaller, source, folder / "fine-tuning", settings),
        task=header["model"]["name"],
        init=str(start),
        card={**_inherited(card), **note, "labels": origin},
    )
    task = task_of(config)
    test = task.load_parts()["test"]
    tunes = seconds(settings.max_time) > 0
    best = train(config, resume=False) if tunes else start
    # 4. comparison
    networks = {"whole": Path(model), "pruned": start}
    networks |= {"fine-tuned": best} if tunes else {}
    rows = [_row(name, path, task, test) for name, path in networks.items()]
    tuned, card = load_checkpoint(best, backend=settings.trainer.backend)
    checkpoint = save_checkpoint(folder / "best.safetensors", tuned, card)
    write_json(folder / "prune.json", {"labels": origin, **note, "networks": rows})
    return PruneResult(checkpoint, origin, rows)


def _check_size(structures: PackedDataset, settings: PruneSettings) -> None:
    rows = split_rows(len(structures), settings.fractions, settings.seed)
    if empty := [name for name, chosen in rows.items() if not len(chosen)]:
        raise ValueError(
            f"{structures.name} has {len(structures)} structures, of which none is "
            f"left for {', '.join(empty)}: prune with more, a thousand say"
        )


def _config(
    model: Teacher, source: str, folder: Path, settings: PruneSettings
) -> TrainConfig:
    """Return the run: the losses of what is labelled, constants as they are."""
    structures = open_source(source, _targets(model))
    n_train = settings.fractions["train"] * len(structures)
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
        model=_constants(model),
        loss=(
            LossConfig(kind="l1")
            if isinstance(model, PropertyNetwork)
            else _losses(model, structures)
        ),
        properties=PropertyConfig(list(_targets(model))),
        optimizer=OptimizerConfig(
            lr=settings.lr,
            batch_size=settings.batch_size,
            schedule="time-cosine",
            warmup_steps=50,
        ),
        stop=StopConfig(max_time=settings.max_time),
        trainer=replace(settings.trainer, val_every_steps=every),
        seed=settings.seed,
    )


def _targets(model: Teacher) -> tuple[str, ...]:
    """Return the properties that the network predicts."""
    return model.config.targets if isinstance(model, PropertyNetwork) else ()


def _constants(model: Teacher) -> dict[str, Any]:
    """Return what training would take from the data, but for a network of its own."""
    names = ["reference_energies"]
    if isinstance(model, PropertyNetwork):
        names = ["references", "means", "scales"]
    return {name: getattr(model.config, name) for name in names}


def _losses(model: Potential, structures: PackedDataset) -> LossConfig:
    """Return the losses of a potential, of what it predicts and the data have."""
    electric = ("dipole", "charges") if model.config.dipole else ()
    there = {name: name in structures.fields for name in ("forces", *electric)}
    return LossConfig(
        energy=15.0,
        forces=float(there["forces"]),
        dipole=0.3 * there.get("dipole", False),
        charges=0.3 * there.get("charges", False),
        kind={"energy": "huber", "forces": "norm", "dipole": "l1", "charges": "l1"},
        huber_delta=0.02,
    )


def _inherited(card: dict[str, Any]) -> dict[str, Any]:
    """Return what stays true of a network that is smaller."""
    kept = ("level_of_theory", "licence", "limits")
    return {name: card[name] for name in kept if name in card}


def _row(name: str, path: Path, task: Task, test: PackedDataset) -> dict[str, Any]:
    """Parameters, errors and speed of a network."""
    model, _ = load_checkpoint(path, backend=task.config.trainer.backend)
    table = validated(task, model, test, batch_size=64)
    degrees = sorted({ir.l for _, ir in taps_of(model).irreps})
    row: dict[str, Any] = {
        "network": name,
        "degrees": " ".join(map(str, degrees)),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    for quantity, unit in table["units"].items():
        if quantity not in LEFT_OUT:
            row[f"{quantity} MAE_{unit}"] = table[quantity]["mae"]
    row["time_ms/structure"] = _milliseconds(cast(Teacher, model), test)
    return row


def _milliseconds(model: Teacher, dataset: PackedDataset) -> float:
    """Return the median time for all predictions, ms for a structure in a batch."""
    n = min(len(dataset), TIMED)
    answer = answering(model.requires_grad_(False))
    graph = dataset.batch(np.arange(n), model.cutoff)
    answer(graph)  # kernels are compiled, tables built
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        answer(graph)
        times.append(time.perf_counter() - begun)
    return 1000.0 * statistics.median(times) / n
