"""Where files go that can be made again: compiled kernels and packed copies."""

import os
from pathlib import Path


def user_cache() -> Path:
    """Return the folder, which need not exist.

    ``$EQUICALC_CACHE``, else ``$XDG_CACHE_HOME/equicalc``, else ``~/.cache/equicalc``.
    """
    if chosen := os.environ.get("EQUICALC_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "equicalc"
