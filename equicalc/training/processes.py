"""Several processes that train one network, each on a device of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lightning.pytorch.strategies import DDPStrategy


def process_number(n: int) -> int:
    """Return which of `n` training processes this is; 0 leads and writes the files.

    Lightning starts the others, as ``torchrun`` does, with ``LOCAL_RANK`` set.
    """
    return int(os.environ.get("LOCAL_RANK", 0)) if n > 1 else 0


def strategy_of(n: int) -> DDPStrategy | Literal["auto"]:
    """Return how Lightning spreads a run over `n` devices of this machine."""
    if n == 1:
        return "auto"
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.pytorch.strategies import DDPStrategy

    return DDPStrategy(
        cluster_environment=LightningEnvironment(),
        find_unused_parameters=True,  # what only a dipole needs, without dipoles
    )
