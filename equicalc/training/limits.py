"""What the values of a configuration may be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


class RangeError(ValueError):
    """A value that makes no sense.

    Attributes
    ----------
    name
        Of the field.
    """

    def __init__(self, name: str, value: Any, wanted: str) -> None:
        super().__init__(f"{name} = {value}; give {wanted}")
        self.name = name


def require_positive(config: Any, *names: str) -> None:
    """Refuse numbers that are not above 0, or not finite; None is none.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> require_positive(SimpleNamespace(lr=-1.0), "lr")
    Traceback (most recent call last):
    equicalc.training.limits.RangeError: lr = -1.0; give a number above 0
    """
    _require(config, names, "a number above 0", lambda x: 0 < x < math.inf)


def require_at_least(config: Any, least: int, *names: str) -> None:
    """Refuse numbers under `least`, or not finite; None is none."""
    _require(config, names, f"{least} or more", lambda x: least <= x < math.inf)


def require_share(config: Any, *names: str) -> None:
    """Refuse what is not in 0..1, the 1 left out."""
    _require(config, names, "a number from 0 to below 1", lambda x: 0 <= x < 1)


def _require(
    config: Any, names: tuple[str, ...], wanted: str, holds: Callable[[Any], bool]
) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not holds(value):
            raise RangeError(name, value, wanted)
