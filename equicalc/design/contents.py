"""What files and functions of a design hold, so that a changed one is noticed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from .imports import imported

__all__ = ["contents"]


def contents(part: BaseModel) -> dict[str, str]:
    """Return a hash of each file and function that a part of a design names.

    A function has that of its text; what it calls is not followed, and one without a
    text, typed at a prompt, has none.

    Examples
    --------
    >>> from equicalc.design import Score
    >>> list(contents(Score(function="json:dumps")))
    ['json:dumps']
    """
    return {
        name: sha256(data).hexdigest()[:16]
        for field, value in part
        for one in (value if isinstance(value, tuple) else (value,))
        for name, data in _named(field, one)
    }


def _named(field: str, value: Any) -> Iterator[tuple[str, bytes]]:
    if field == "function" and isinstance(value, str):
        value = imported(value)
    if isinstance(value, Path) and value.is_file():
        yield str(value), value.read_bytes()
    elif callable(value):
        with suppress(OSError, TypeError):
            text = inspect.getsource(value).encode()
            yield f"{value.__module__}:{value.__qualname__}", text
