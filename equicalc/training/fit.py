"""Train a model: from a configuration to the best weights."""

from __future__ import annotations

import dataclasses
import json
import logging
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from equicalc._version import __version__
from equicalc.checkpoint import save_checkpoint
from equicalc.data.packed import PackedDataset
from equicalc.models import MODELS, build_model
from equicalc.training.batches import EndlessBatches, in_order, loader
from equicalc.training.config import TrainConfig
from equicalc.training.report import write_report
from equicalc.training.sources import derived_fields, expand_path, load_parts

logger = logging.getLogger(__name__)

BEST = "best.safetensors"

#: Parts of the configuration that a resumed run may change.
FREE = ("stop", "trainer", "card", "output")


def train(config: TrainConfig, resume: bool = True) -> Path:
    """Train a model until a limit is reached.

    1. Open and split the data.
    2. Build the model, or what a resumed run began with.
    3. Fit; every best model so far is exported.
    4. Evaluate the best model, draw the plots.

    Killed at any moment, the same call goes on from the last checkpoint, with the
    same batches in the same order.

    Parameters
    ----------
    config
        The run, see `load_config`.
    resume
        Go on with the run in `config.output` if there is one; else begin anew.

    Returns
    -------
    Path
        The best model, a file for `equicalc.checkpoint.load_checkpoint`.

    Raises
    ------
    ImportError
        If Lightning is missing.
    ValueError
        If data or configuration are unusable, or differ from the run to resume.
    RuntimeError
        If the weights become NaN.
    """
    folder = expand_path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    if not resume:
        _clear(folder)
    # 1. data
    parts = load_parts(config)
    logger.info("structures: %s", {name: len(part) for name, part in parts.items()})
    # 2. model
    model_config = _begin(folder, config, parts["train"])
    torch.manual_seed(config.seed)
    model = build_model(config.task, model_config, backend=config.trainer.backend)
    # 3. fit
    with _threads(config.trainer.threads):
        _fit(model, config, parts, folder)
        # 4. report
        write_report(folder, config, parts)
    return folder / BEST


def _fit(
    model: torch.nn.Module,
    config: TrainConfig,
    parts: dict[str, PackedDataset],
    folder: Path,
) -> None:
    """Run Lightning's loop from the newest checkpoint to the first limit."""
    try:
        from lightning.pytorch import Trainer
    except ImportError:
        raise ImportError(
            'training needs Lightning: pip install "equicalc[train]"'
        ) from None
    from equicalc.training import callbacks
    from equicalc.training.module import RunState, TrainingModule

    checkpoint = callbacks.newest_checkpoint(folder)
    start = 0
    if checkpoint is not None:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        start, state = saved["global_step"], RunState(**saved["run_state"])
    batches = EndlessBatches(
        len(parts["train"]), config.optimizer.batch_size, config.seed, start
    )
    if checkpoint is not None:
        logger.info("going on from %s, step %d", checkpoint, start)
        if state.finished(config, start, batches.per_epoch):
            return
    module = TrainingModule(model, config, batches.per_epoch)
    options = config.trainer
    hooks = [
        callbacks.Logs(folder, options.log_every),
        callbacks.Best(lambda m: export(m.average, folder / BEST, config, m)),
        callbacks.Checkpoints(folder, options.checkpoint_minutes),
        *([callbacks.ProgressBar()] if options.progress else []),
    ]
    cutoff, workers = model.cutoff, options.num_workers
    valid = parts["valid"]
    with _quiet():
        trainer = Trainer(
            accelerator={"cuda": "gpu"}.get(options.device, options.device),
            devices=1,
            max_epochs=-1,
            val_check_interval=options.val_every_steps or batches.per_epoch,
            num_sanity_val_steps=0,
            inference_mode=False,
            logger=False,
            callbacks=hooks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(
            module,
            loader(parts["train"], cutoff, batches, workers),
            loader(valid, cutoff, in_order(len(valid), batches.batch_size), workers),
            ckpt_path=checkpoint,
            weights_only=True,
        )


def export(
    model: torch.nn.Module, path: Path, config: TrainConfig, module: Any
) -> Path:
    """Write a model with the card of its training."""
    return save_checkpoint(
        path,
        model,
        {
            "level_of_theory": "unknown",
            "licence": "unknown",
            "training_data": config.data.train,
            **config.card,
            "command": shlex.join(["equicalc", *sys.argv[1:]]),
            "version": __version__,
            "steps": module.global_step,
            "hours": round(module.elapsed / 3600, 3),
            "training": dataclasses.asdict(config),
            "metrics": {"valid": module.errors},
        },
    )


def _begin(folder: Path, config: TrainConfig, dataset: PackedDataset) -> dict[str, Any]:
    """Return the model's configuration; a run's first call decides and records it."""
    record = folder / "run.json"
    asked = json.loads(json.dumps(dataclasses.asdict(config)))
    if record.is_file():
        begun = json.loads(record.read_text())
        _check_same(begun["config"], asked, folder)
        return begun["model"]
    given = {"elements": (1,), **config.model}
    cutoff = MODELS[config.task][0](**given).cutoff
    model = derived_fields(config, dataset, cutoff)
    temporary = record.with_suffix(".part")
    temporary.write_text(json.dumps({"config": asked, "model": model}, indent=1))
    temporary.replace(record)
    return model


def _check_same(begun: dict[str, Any], asked: dict[str, Any], folder: Path) -> None:
    changed = [key for key in asked if key not in FREE and begun.get(key) != asked[key]]
    if changed:
        key = changed[0]
        raise ValueError(
            f"{folder} holds a run with another {key!r}: {begun.get(key)}, now "
            f"{asked[key]}. Choose another output, or train with resume=False"
        )


def _clear(folder: Path) -> None:
    """Remove the files of an earlier run, nothing else."""
    names = ("run.json", BEST, "last.ckpt", "previous.ckpt", "train.csv", "valid.csv")
    for name in (*names, "metrics.json"):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        if n is not None:
            torch.set_num_threads(n)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide Lightning's advice about worker counts and logging, for the run only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        yield
