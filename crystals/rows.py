"""Where parts of different sizes begin that lie one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["starts"]


def starts(counts: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
    """Row (n_parts,) where each part begins, if there are so many in it.

    Examples
    --------
    >>> starts([2, 4, 1]).tolist()
    [0, 2, 6]
    """
    counts = np.asarray(counts, dtype=np.int64)
    return np.cumsum(counts) - counts
