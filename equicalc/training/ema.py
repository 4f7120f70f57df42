"""Exponential moving average of a model's weights."""

from __future__ import annotations

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn


def ema_decay(decay: float, step: int) -> float:
    """Return the decay of a step: small at first, so that the start is forgotten.

    Parameters
    ----------
    decay
        The decay of a long run.
    step
        Steps done.

    Examples
    --------
    >>> ema_decay(0.99, 0), ema_decay(0.99, 10**6)
    (0.1, 0.99)
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    """Move an average towards a model: ``average = decay average + (1-decay) model``.

    Parameters
    ----------
    average, model
        Two modules of one architecture; the first is changed in place.
    decay
        Weight of the old average. Buffers do not train and are left alone.
    """
    step = get_ema_multi_avg_fn(decay)
    step(list(average.parameters()), list(model.parameters()), None)
