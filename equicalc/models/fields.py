"""What the configurations of networks check of their fields.

All are frozen dataclasses that may come from a JSON header or a YAML file.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any


def freeze(config: Any, *names: str) -> None:
    """Make tuples of fields that a file gave as lists.

    Parameters
    ----------
    config
        A dataclass, within its ``__post_init__``.
    *names
        Of the fields.
    """
    for name in names:
        object.__setattr__(config, name, tuple(getattr(config, name)))


def check_elements(elements: Sequence[int]) -> None:
    """Refuse elements that cannot be the indices of an embedding.

    Raises
    ------
    ValueError
        If there are none, or they do not ascend.

    Examples
    --------
    >>> check_elements((8, 1))
    Traceback (most recent call last):
        ...
    ValueError: elements must be distinct atomic numbers in ascending order, got (8, 1)
    """
    if not elements or list(elements) != sorted(set(elements)):
        raise ValueError(
            f"elements must be distinct atomic numbers in ascending order, got "
            f"{elements}"
        )


def check_one_each(values: Sized, what: str, n: int, of: str) -> None:
    """Refuse values that are neither none nor one for each of something.

    Parameters
    ----------
    values
        A field.
    what
        Its name in the message.
    n, of
        How many there must be, and of what.

    Raises
    ------
    ValueError
        If there is another number of them.

    Examples
    --------
    >>> check_one_each((3,), "gate widths", 2, "layers")
    Traceback (most recent call last):
        ...
    ValueError: 1 gate widths for 2 layers: give one each, or none
    """
    if len(values) not in (0, n):
        raise ValueError(f"{len(values)} {what} for {n} {of}: give one each, or none")
