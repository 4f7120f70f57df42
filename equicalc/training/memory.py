"""How the C library treats memory that a training step has freed."""

from __future__ import annotations

import ctypes
import sys

#: Parameters of `mallopt` in glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: Largest block that comes from the heap, bytes; glibc allows no more.
LARGEST = 1 << 25
#: Free memory at the end of the heap that is kept, bytes.
KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, instead of asking the system again.

    Every training step allocates the same arrays. Given back and asked for again, they
    come as new pages, which have to be cleared. For processes that do nothing but
    train; it cannot be undone.

    Returns
    -------
    bool
        Whether the C library could be told; only glibc can.

    Examples
    --------
    >>> isinstance(keep_freed_memory(), bool)
    True
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = {M_MMAP_THRESHOLD: LARGEST, M_TRIM_THRESHOLD: KEPT}
    return all(mallopt(name, value) == 1 for name, value in wanted.items())
