"""Random numbers of molecules: each has its own stream, whatever the batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["DRAWS", "uniforms"]

#: Uniform numbers of a step: focus and species, distance (2), direction (4).
DRAWS = 7


def uniforms(seed: int, molecules: Sequence[int], n_steps: int) -> Tensor:
    """Return the random numbers of some molecules, float32 below 1.

    Philox is a counter-based generator: the stream of molecule k is a function of the
    seed and k, and nobody else draws from it.

    Parameters
    ----------
    seed
        Of the run.
    molecules
        Numbers of the molecules.
    n_steps
        Steps to provide for.

    Returns
    -------
    (n_molecules, n_steps, DRAWS)

    References
    ----------
    .. [1] Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> both, second = uniforms(0, [4, 5], 3), uniforms(0, [5], 3)
    >>> bool((both[1] == second[0]).all())
    True
    """
    streams = [np.random.Generator(np.random.Philox(key=[seed, k])) for k in molecules]
    drawn = [stream.random((n_steps, DRAWS), np.float32) for stream in streams]
    return torch.from_numpy(np.stack(drawn))
