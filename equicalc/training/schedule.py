"""Progress of a run, and learning-rate schedules as functions of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from equicalc.training.config import OptimizerConfig, StopConfig, seconds


@dataclass
class RunState:
    """What a run remembers beside weights and optimiser.

    Attributes
    ----------
    elapsed
        Seconds of training, summed over resumed parts.
    best_loss
        Lowest validation loss.
    stale
        Validations since then.
    plateau
        Product of the reductions of the learning rate.
    """

    elapsed: float = 0.0
    best_loss: float = float("inf")
    stale: int = 0
    plateau: float = 1.0

    def finished(self, stop: StopConfig, step: int, steps_per_epoch: int) -> bool:
        """Return whether a limit has been reached."""
        if stop.patience is not None and self.stale >= stop.patience:
            return True
        return progress(stop, step, steps_per_epoch, self.elapsed) >= 1


def progress(
    stop: StopConfig, step: int, steps_per_epoch: int, elapsed: float | None = None
) -> float:
    """Return how much of the run is done, in 0..1: the limit that is nearest.

    Parameters
    ----------
    stop
        The limits.
    step
        Steps done.
    steps_per_epoch
        Steps in one pass over the training set.
    elapsed
        Time spent, s; None leaves the time limit out.

    Examples
    --------
    >>> progress(StopConfig(max_steps=100, max_time=60), 20, 10, elapsed=30.0)
    0.5
    """
    done = 0.0
    if stop.max_steps is not None:
        done = max(done, step / max(stop.max_steps, 1))
    if stop.max_epochs is not None:
        done = max(done, step / max(stop.max_epochs * steps_per_epoch, 1))
    if elapsed is not None and stop.max_time is not None:
        done = max(done, elapsed / max(seconds(stop.max_time), 1e-9))
    return min(done, 1.0)


def learning_rate(
    config: OptimizerConfig, step: int, done: float, plateau: float = 1.0
) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    config
        Schedule, its warm-up and its end.
    step
        Steps done.
    done
        Progress of the run, 0..1.
    plateau
        Product of the reductions so far (schedule `plateau`).

    Examples
    --------
    >>> config = OptimizerConfig(lr=1.0, warmup_steps=10, schedule="constant")
    >>> [learning_rate(config, step, done=0.0) for step in (0, 4, 9, 50)]
    [0.1, 0.5, 1.0, 1.0]
    """
    rise = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    if config.schedule == "constant":
        shape = 1.0
    elif config.schedule == "plateau":
        shape = max(plateau, config.lr_final)
    else:
        half_wave = 0.5 * (1 + math.cos(math.pi * done))
        shape = config.lr_final + (1 - config.lr_final) * half_wave
    return config.lr * rise * shape
