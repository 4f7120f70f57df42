"""What happens beside the steps: checkpoints, logs, the best model, the bar."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback

from equicalc.training.interruption import Stopped
from equicalc.training.logs import CsvLog

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from rich.progress import Progress

    from equicalc.training.interruption import Signals
    from equicalc.training.module import TrainingModule

logger = logging.getLogger(__name__)

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class Checkpoints(Callback):
    """Write `last.ckpt` every few minutes, after every validation and at a signal.

    It is written between two steps, to a temporary file that then takes the name;
    the one before stays as `previous.ckpt`.

    Parameters
    ----------
    folder
        Where the checkpoints go.
    minutes
        Time between two.
    signals
        One of them ends the run.
    """

    def __init__(self, folder: Path, minutes: float, signals: Signals) -> None:
        self.folder = folder
        self.signals = signals
        self.interval = 60 * minutes
        self.due = time.monotonic() + self.interval

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Take the signals over from Lightning."""
        self.signals.listen()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Save before the next step."""
        self.due = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, and end at a signal; the first process says whether."""
        now = time.monotonic() >= self.due, self.signals.number
        due, number = trainer.strategy.broadcast(now)
        if due or number:
            self.save(trainer, pl_module)
        if number:
            raise Stopped(number)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Save the end of the run."""
        self.save(trainer, pl_module)

    def save(self, trainer: Trainer, module: TrainingModule) -> None:
        """Write `last.ckpt` and keep the one before."""
        module.check_finite(0.0)
        last, temporary = self.folder / LAST, self.folder / f".{LAST}"
        trainer.save_checkpoint(temporary, weights_only=False)  # by the first process
        if trainer.is_global_zero:
            if last.exists():
                last.replace(self.folder / PREVIOUS)
            temporary.replace(last)
        self.due = time.monotonic() + self.interval


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest whole checkpoint of a run and what it holds, if there is one.

    Raises
    ------
    ValueError
        If there are checkpoints but none can be read.
    """
    present = [folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()]
    for path in present:
        try:
            return path, torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises whatever the broken bytes lead to
            logger.warning("%s cannot be read (%s): truncated?", path, error)
    if present:
        raise ValueError(
            f"no checkpoint in {folder} can be read ({', '.join(map(str, present))}): "
            "truncated or of another format; remove them, or train with resume=False "
            "(--fresh)"
        )
    return None


class Logs(Callback):
    """Append to `train.csv` every few steps and to `valid.csv` at validations.

    Parameters
    ----------
    folder
        Where the logs go.
    every
        Steps between rows.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder = folder
        self.every = every

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Open the logs where the run stands."""
        self.train = CsvLog(self.folder / "train.csv", trainer.global_step)
        self.valid = CsvLog(self.folder / "valid.csv", trainer.global_step)
        self.begun, self.seen = time.monotonic(), 0

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write the mean of the last steps."""
        self.seen += pl_module.task.count(batch)
        if trainer.global_step % self.every == 0:
            self.train.write(_head(pl_module) | pl_module.mean_terms())

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the errors of the running average; say how fast training is."""
        rate = self.seen / (time.monotonic() - self.begun)
        errors = dict(pl_module.errors)
        row = _head(pl_module) | {"loss": errors.pop("loss")}
        for name, value in errors.items():
            if isinstance(value, float):
                row[name] = value
            elif isinstance(value, dict) and "mae" in value:
                row |= {f"{name}_{kind}": number for kind, number in value.items()}
        self.valid.write(row)
        unit = pl_module.task.unit
        logger.info("validation: %s, %.0f %s/s", _readable(row), rate, unit)
        self.begun, self.seen = time.monotonic(), 0


def _head(module: TrainingModule) -> dict[str, float]:
    step = module.global_step
    return {
        "step": step,
        "epoch": step / module.steps_per_epoch,
        "elapsed": module.elapsed,
        "lr": module.trainer.optimizers[0].param_groups[0]["lr"],
    }


def _readable(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in row.items())


class Best(Callback):
    """Export the running average whenever a validation is the best so far.

    Parameters
    ----------
    export
        Writes it.
    """

    def __init__(self, export: Callable[[], Any]) -> None:
        self.export = export

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Export if nothing was better."""
        if pl_module.state.stale == 0:
            self.export()


class ProgressBar(Callback):
    """A bar on the terminal: progress, speed, validation errors."""

    def __init__(self) -> None:
        self.bar: Progress | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw the bar; on anything but a terminal, draw nothing."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        bar = self.bar = Progress(
            TextColumn("step {task.fields[step]}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f}% {task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[best]}"),
            transient=True,
        )
        bar.disable = not bar.console.is_terminal
        self.begun, self.seen = time.monotonic(), 0
        fields = {"step": 0, "rate": "", "best": ""}
        self.task = bar.add_task("train", total=1.0, **fields)
        bar.start()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar."""
        assert self.bar is not None
        task = pl_module.task
        self.seen += task.count(batch)
        rate = self.seen / (time.monotonic() - self.begun)
        self.bar.update(
            self.task,
            completed=pl_module.progress,
            step=trainer.global_step,
            rate=f"{rate:.0f} {task.unit}/s",
            best=f"best loss {pl_module.state.best_loss:.4g}",
        )

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Remove the bar."""
        self._remove()

    def on_exception(
        self, trainer: Trainer, pl_module: Any, exception: BaseException
    ) -> None:
        """Remove the bar, so that the error can be read."""
        self._remove()

    def _remove(self) -> None:
        """Remove the bar, if training came so far as to draw it."""
        if self.bar is not None:
            self.bar.stop()
