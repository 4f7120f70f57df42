"""Train a model: from a configuration to the best weights."""

from __future__ import annotations

import dataclasses
import json
import logging
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from equicalc._version import __version__
from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.data.locking import locked
from equicalc.data.packed import PackedDataset
from equicalc.models import build_model
from equicalc.training.batches import EndlessBatches, in_order, loader
from equicalc.training.config import TrainConfig
from equicalc.training.config_file import completed
from equicalc.training.interruption import Signals, ended_by_signals
from equicalc.training.processes import process_number, strategy_of
from equicalc.training.report import BEST, write_json
from equicalc.training.schedule import RunState
from equicalc.training.sources import expand_path
from equicalc.training.tasks import task_of

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer

    from equicalc.training.module import TrainingModule
    from equicalc.training.task import Check, Task

logger = logging.getLogger(__name__)

RECORD = "run.json"

#: Parts of the configuration that a resumed run may change.
FREE = ("stop", "trainer", "card", "output")


def train(config: TrainConfig, resume: bool = True, check: Check | None = None) -> Path:
    """Train a model until a limit is reached.

    1. Open and split the data.
    2. Build the model, or what a resumed run began with.
    3. Fit; every best model so far is exported.
    4. Evaluate the best model, draw the plots.

    Killed at any moment, the same call goes on from the last checkpoint, with the
    same batches in the same order; Ctrl-C and SIGTERM write one before the next step.
    On several devices every process makes this call; the first one writes all files,
    the others return when training ends.

    Parameters
    ----------
    config
        The run, see `load_config`.
    resume
        Go on with the run in `config.output` if there is one; else begin anew. An
        earlier run is removed once data, model and device are known to be usable.
    check
        Measures the model at every validation, for the log; see
        `equicalc.generators.quick_check`.

    Returns
    -------
    Path
        The best model, a file for `equicalc.checkpoint.load_checkpoint`.

    Raises
    ------
    ImportError
        If Lightning is missing.
    ValueError
        If data or configuration are unusable, or differ from the run to resume, or
        another process trains in the same folder.
    DivergenceError
        If the weights become NaN.
    KeyboardInterrupt, SystemExit
        After Ctrl-C and SIGTERM.
    """
    folder = expand_path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    leads = process_number(config.trainer.devices) == 0
    with locked(folder) if leads else nullcontext():
        return _train(config, folder, resume, check, leads)


def _train(
    config: TrainConfig, folder: Path, resume: bool, check: Check | None, leads: bool
) -> Path:
    """Do the steps of `train`; the leading process writes."""
    # 1. data
    task = task_of(config)
    parts = task.load_parts()
    logger.info("structures: %s", {name: len(part) for name, part in parts.items()})
    # 2. model
    begun = _begun(folder, config) if resume else None
    settings = begun or task.model_settings(parts["train"])
    torch.manual_seed(config.seed)
    model = build_model(config.task, settings, backend=config.trainer.backend)
    if config.init is not None:
        trained, _ = load_checkpoint(expand_path(config.init))
        task.start_from(model, trained)
    with _threads(config.trainer.threads), _quiet():
        fit = _prepared(model, task, parts, folder, check)
        # from here on, files of an earlier run are touched
        if leads and not resume:
            _clear(folder)
        if leads and begun is None:
            _record(folder, config, settings)
        # 3. fit
        fit()
        # 4. report
        if leads:
            task.write_report(folder, parts)
    return folder / BEST


def _prepared(
    model: torch.nn.Module,
    task: Task,
    parts: dict[str, PackedDataset],
    folder: Path,
    check: Check | None,
) -> Callable[[], None]:
    """Return Lightning's loop from the newest checkpoint to the first limit."""
    from equicalc.training import callbacks
    from equicalc.training.module import TrainingModule

    config = task.config
    n_devices = config.trainer.devices
    number = process_number(n_devices)
    leads, signals = number == 0, Signals()
    batches = EndlessBatches(
        len(parts["train"]),
        config.optimizer.batch_size,
        config.seed,
        share=(number, n_devices),
    )
    module = TrainingModule(model, task, batches.per_epoch, check)
    hooks: list[Callback] = [
        callbacks.Checkpoints(folder, config.trainer.checkpoint_minutes, signals)
    ]
    if leads:
        hooks += [
            callbacks.Logs(folder, config.trainer.log_every),
            callbacks.Best(lambda: export(module, folder / BEST)),
            *([callbacks.ProgressBar()] if config.trainer.progress else []),
        ]
    workers = config.trainer.num_workers
    in_turn = in_order(len(parts["valid"]), batches.batch_size)
    trainer = _trainer(config, batches.per_epoch, hooks)

    def fit() -> None:
        path = None
        if found := callbacks.newest_checkpoint(folder):
            path, saved = found
            batches.start = saved["global_step"]
            logger.info("going on from %s, step %d", path, batches.start)
            state = RunState(**saved["run_state"])
            if state.finished(config.stop, batches.start, batches.per_epoch):
                if not (folder / BEST).exists():
                    raise ValueError(
                        f"the run in {folder} is at step {batches.start}, before its "
                        "first validation: allow more steps or time (stop)"
                    )
                return
        with ended_by_signals(signals, leads):
            trainer.fit(
                module,
                loader(partial(task.batch, model, parts["train"]), batches, workers),
                loader(partial(task.batch, model, parts["valid"]), in_turn, workers),
                ckpt_path=path,
                weights_only=True,
            )

    return fit


def _trainer(config: TrainConfig, per_epoch: int, hooks: list[Callback]) -> Trainer:
    """Return Lightning's trainer with everything off that the hooks do."""
    from lightning.pytorch import Trainer

    device = config.trainer.device
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("trainer.device: cuda, but there is no GPU; give cpu or auto")
    return Trainer(
        accelerator="gpu" if device == "cuda" else device,
        devices=config.trainer.devices,
        strategy=strategy_of(config.trainer.devices),
        use_distributed_sampler=False,  # each process has its share of every batch
        max_epochs=-1,
        val_check_interval=config.trainer.val_every_steps or per_epoch,
        num_sanity_val_steps=0,
        inference_mode=False,
        logger=False,
        callbacks=hooks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def export(module: TrainingModule, path: Path) -> Path:
    """Write the running average of a run with the card of its training."""
    config = module.config
    return save_checkpoint(
        path,
        module.average,
        {
            "level_of_theory": "unknown",
            "licence": "unknown",
            "training_data": config.data.train,
            **config.card,
            **module.task.card(module.average),
            "command": _command(sys.argv),
            "version": __version__,
            "steps": module.global_step,
            "hours": round(module.elapsed / 3600, 3),
            "training": dataclasses.asdict(config),
            "metrics": {"valid": module.errors},
        },
    )


def _command(argv: list[str]) -> str:
    """Return a command line with the program's name as a user knows it.

    Examples
    --------
    >>> _command(["/usr/bin/equicalc", "train", "a.yaml"])
    'equicalc train a.yaml'
    >>> _command(["equicalc/__main__.py", "train", "a.yaml"])
    'equicalc train a.yaml'
    >>> _command(["examples/train.py", "--quick"]), _command([""])
    ('train.py --quick', 'python')
    """
    file, *arguments = argv or [""]
    path = Path(file)
    name = path.parent.name if path.name == "__main__.py" else path.name
    return shlex.join([name or "python", *arguments])


def _begun(folder: Path, config: TrainConfig) -> dict[str, Any] | None:
    """Return the model's configuration that the run in a folder began with, if any."""
    record = folder / RECORD
    if not record.is_file():
        return None
    begun = json.loads(record.read_text())
    _check_same(begun["config"], config, folder)
    return begun["model"]


def _record(folder: Path, config: TrainConfig, settings: dict[str, Any]) -> None:
    """Write down what a run begins with."""
    write_json(folder / RECORD, {"config": _plain(config), "model": settings})


def _plain(config: TrainConfig) -> dict[str, Any]:
    """Return a configuration as it comes back from a JSON file."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _check_same(recorded: dict[str, Any], config: TrainConfig, folder: Path) -> None:
    """Refuse to resume a run of another configuration.

    A record of an earlier version lacks what could not be chosen then: its defaults.
    """
    way_out = "Choose another output, or train with resume=False (--fresh)"
    try:
        begun, asked = _plain(completed(recorded)), _plain(config)
    except ValueError as error:
        raise ValueError(
            f"{folder} holds a run of another version ({error}). {way_out}"
        ) from error
    for key in asked:
        if key not in FREE and begun[key] != asked[key]:
            raise ValueError(
                f"{folder} holds a run with another {key!r}: {begun[key]}, now "
                f"{asked[key]}. {way_out}"
            )


def _clear(folder: Path) -> None:
    """Remove the files of an earlier run, nothing else."""
    names = (RECORD, BEST, "last.ckpt", "previous.ckpt", "train.csv", "valid.csv")
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
    """Hide Lightning's advice about workers, accelerators and loggers, for the run."""
    try:
        import lightning.pytorch  # noqa: F401  (which sets the levels that are changed)
    except ImportError as error:
        raise ImportError(
            f'training needs Lightning ({error}): pip install "equicalc[train]"'
        ) from error
    chatter = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    before = [one.level for one in chatter]
    for one in chatter:
        one.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers")
            warnings.filterwarnings(
                "ignore", category=FutureWarning, module="lightning"
            )
            yield
    finally:
        for one, level in zip(chatter, before):
            one.setLevel(level)
