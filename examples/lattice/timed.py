"""Training against the clock: the rate falls to zero as the time runs out."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equicalc.training.muon import Muon

WARM_UP, DECAY = 0.02, 0.999
SAVE_EVERY = 120.0  # s


class TimedRun:
    """A model, the running average of its weights, its optimiser and its clock.

    Parameters
    ----------
    model
        Trained in place.
    file
        Keeps everything; a run that finds it goes on from there.
    seconds
        Of training in all.
    rate
        Learning rate at its highest.
    """

    def __init__(
        self, model: nn.Module, file: Path, seconds: float, rate: float
    ) -> None:
        self.model, self.file, self.limit, self.rate = model, file, seconds, rate
        self.average = copy.deepcopy(model)
        self.optimiser = Muon(model.parameters())
        self.steps, self.used = 0, 0.0
        if file.exists():
            saved = torch.load(file, weights_only=True)
            self.steps, self.used = saved["steps"], saved["used"]
            model.load_state_dict(saved["model"])
            self.average.load_state_dict(saved["average"])
            self.optimiser.load_state_dict(saved["optimiser"])
        self.saved = self.used

    def left(self) -> bool:
        """Whether there is time left."""
        return self.used < self.limit

    def round(
        self, batches: Iterable[Callable[[], Any]], loss: Callable[[Any], Tensor]
    ) -> None:
        """Make a step with each batch, or until the time is up."""
        for make in batches:
            start = time.monotonic()
            self._step(loss(make()))
            self.used += time.monotonic() - start
            if self.used - self.saved > SAVE_EVERY:
                self.save()
            if not self.left():
                return

    def save(self) -> None:
        """Write everything that is needed to go on."""
        self.saved = self.used
        self.file.parent.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "used": self.used,
        }
        part = self.file.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.file)

    def _step(self, loss: Tensor) -> None:
        share = min(1.0, self.used / self.limit)
        rate = self.rate * min(share / WARM_UP, 0.5 * (1 + math.cos(math.pi * share)))
        for group in self.optimiser.param_groups:
            group["lr"] = max(rate, 1e-6)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimiser.step()
        self.steps += 1
        decay = min(DECAY, self.steps / (self.steps + 10))
        with torch.no_grad():
            for mean, new in zip(self.average.parameters(), self.model.parameters()):
                mean.lerp_(new, 1 - decay)
