"""What a user wrote, found by its name."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["imported"]


def imported(name: str) -> Any:
    """Return what ``package.module:attribute`` names.

    The working folder becomes the last place that modules are looked for in, here and
    in the processes that are started from now on.

    Raises
    ------
    ValueError
        If there is no such thing.

    Examples
    --------
    >>> imported("math:pi")
    3.141592653589793
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ValueError(f"{name!r}: give package.module:name")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{name}: {error}; modules are looked for in the working folder and in the "
            "environment"
        ) from error
