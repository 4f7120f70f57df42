"""The LightningModule: one training step, validation of the running average."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from equicalc.training.ema import ema_decay, update_ema
from equicalc.training.muon import Muon
from equicalc.training.schedule import RunState, learning_rate, progress

if TYPE_CHECKING:
    from equicalc.training.task import Check, Task, Validation


class DivergenceError(RuntimeError):
    """Loss or weights are not finite any more."""


class TrainingModule(LightningModule):
    """A model, its running average and what it is trained for.

    Parameters
    ----------
    model
        The network that is trained; its average is a copy.
    task
        Loss and validation.
    steps_per_epoch
        Steps in one pass over the training set.
    check
        Measures the running average at the end of a validation, beside its errors.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        task: Task,
        steps_per_epoch: int,
        check: Check | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.task = task
        self.config = task.config
        self.steps_per_epoch = steps_per_epoch
        self.check = check
        self.state = RunState()
        self.sums: dict[str, Tensor] = {}  # of the loss terms since the last log row
        self.counted = 0  # steps in them
        self.errors: dict[str, Any] = {}  # of the last validation
        self.progress = 0.0  # after the last step, 0..1
        self._started = time.monotonic()
        self._validation: Validation

    @property
    def elapsed(self) -> float:
        """Seconds of training, resumed parts included."""
        return self.state.elapsed + time.monotonic() - self._started

    def done(self, timed: bool = True) -> float:
        """Return the progress of the run, 0..1, the same in all processes."""
        elapsed = self.trainer.strategy.broadcast(self.elapsed) if timed else None
        return progress(
            self.config.stop, self.global_step, self.steps_per_epoch, elapsed
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser over all weights."""
        config = self.config.optimizer
        kinds = {"adamw": torch.optim.AdamW, "muon": Muon}
        return kinds[config.kind](
            self.model.parameters(),
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
        )

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rate of the step, and what its dropout is drawn from.

        The same after a stop as without one.
        """
        torch.manual_seed(hash((self.config.seed, self.global_step)))
        config = self.config.optimizer
        timed = config.schedule == "time-cosine" or not self.config.stop.counted
        done = self.done(timed)
        rate = learning_rate(config, self.global_step, done, self.state.plateau)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        loss, terms = self.task.loss(self.model, batch)
        self._accumulate({"loss": loss.detach(), **terms})
        self.counted += 1
        return loss

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        """Scale down a gradient that is too long."""
        limit = self.config.optimizer.clip
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), float("inf") if limit is None else limit
        )
        self._accumulate({"gradient": norm.detach()})

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the average; stop when a limit is reached."""
        decay = ema_decay(self.config.optimizer.ema_decay, self.global_step)
        update_ema(self.average, self.model, decay)
        self.progress = self.done()
        if self.progress >= 1:
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        """Begin a validation."""
        self._validation = self.task.validation()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Evaluate the running average on a batch.

        Each of several processes evaluates all of them at the same time: they come to
        the same decisions, and none waits for another longer than a backend allows.
        """
        self._validation.add(self.average, batch)

    def on_validation_epoch_end(self) -> None:
        """Compare with the best so far; reduce the learning rate or stop."""
        self.errors = self._validation.table()
        if self.check is not None:
            self.errors |= self.check(self.average)
        loss = self.errors["loss"]
        self.check_finite(loss)
        state, config = self.state, self.config
        if loss < state.best_loss:
            state.best_loss, state.stale = loss, 0
            return
        state.stale += 1
        if (
            config.optimizer.schedule == "plateau"
            and state.stale % config.optimizer.plateau_patience == 0
        ):
            state.plateau *= config.optimizer.plateau_factor
        if config.stop.patience is not None and state.stale >= config.stop.patience:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the run's own state."""
        state = dataclasses.replace(self.state, elapsed=self.elapsed)
        checkpoint["run_state"] = dataclasses.asdict(state)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the run's own state; the clock goes on from there."""
        self.state = RunState(**checkpoint["run_state"])
        self._started = time.monotonic()

    def check_finite(self, number: float) -> None:
        """Raise DivergenceError if a loss or the weights are not finite."""
        weights = sum(p.detach().sum() for p in self.model.parameters())
        if not math.isfinite(number + float(weights)):
            raise DivergenceError(
                f"training diverged at step {self.global_step} (NaN or infinity in the "
                "loss or weights): lower optimizer.lr or optimizer.clip, or leave out "
                "extreme structures with data.max_force"
            )

    def mean_terms(self) -> dict[str, float]:
        """Return the mean loss terms since the last call and start anew."""
        n, sums = self.counted, self.sums
        self.counted, self.sums = 0, {}
        return {name: float(value) / n for name, value in sums.items()}

    def _accumulate(self, terms: dict[str, Tensor]) -> None:
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
