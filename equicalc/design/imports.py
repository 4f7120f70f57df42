"""What a user wrote, found by its name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["imported"]


def imported(name: str) -> Any:
    """Return what ``package.module:attribute`` names.

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
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{name}: {error}; modules are looked for in the working folder and in the "
            "environment"
        ) from error
