"""Random numbers of molecules: each has its own stream, whatever the batch."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["DRAWS", "uniforms"]

#: Uniform numbers of a step: focus and species, distance (2), direction (4).
DRAWS = 7
LARGEST = 2**63  # seeds are below


def uniforms(
    seed: int, molecules: Sequence[int], n_steps: int, n_attempts: int = 1
) -> Tensor:
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
    n_attempts
        How often a step may be tried; the first attempt draws the same numbers
        whatever is provided for others.

    Returns
    -------
    (n_molecules, n_steps, n_attempts, DRAWS)

    Raises
    ------
    ValueError
        If the seed is not an integer from 0 to 2**63 - 1.

    References
    ----------
    .. [1] Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> both, second = uniforms(0, [4, 5], 3), uniforms(0, [5], 3)
    >>> bool((both[1] == second[0]).all())
    True
    """
    if type(seed) is bool or not isinstance(seed, Integral) or not 0 <= seed < LARGEST:
        raise ValueError(f"seed is {seed!r}; give an integer from 0 to 2**63 - 1")
    drawn = [
        [_stream(seed, k, attempt, n_steps) for attempt in range(n_attempts)]
        for k in molecules
    ]
    return torch.from_numpy(np.array(drawn)).transpose(1, 2)


def _stream(seed: int, molecule: int, attempt: int, n_steps: int) -> NDArray[Any]:
    bits = np.random.Philox(counter=[0, 0, 0, attempt], key=[int(seed), molecule])
    return np.random.Generator(bits).random((n_steps, DRAWS), np.float32)
