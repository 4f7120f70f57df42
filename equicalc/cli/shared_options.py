"""Options that several commands share, as the fields of a dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, get_type_hints


def with_options(kind: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every field of a dataclass.

    Parameters
    ----------
    kind
        The dataclass; fields are annotated as typer asks it of arguments. All have
        defaults.

    Returns
    -------
    callable
        Decorator of a command that takes an instance as its last argument, ``options``.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Size:
    ...     width: int = 3
    >>> @with_options(Size)
    ... def draw(name: str, options: Size) -> None:
    ...     print(name, options)
    >>> draw(name="box", width=4)
    box Size(width=4)
    >>> inspect.signature(draw)
    <Signature (*, name: str, width: int = 3) -> None>
    """
    hints = get_type_hints(kind, include_extras=True)
    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def spread(**given: Any) -> None:
            options = kind(**{one.name: given.pop(one.name) for one in shared})
            command(**given, options=options)

        signature = inspect.signature(command, eval_str=True)
        own = [
            one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for one in signature.parameters.values()
            if one.name != "options"
        ]
        together = signature.replace(parameters=[*own, *shared])
        spread.__signature__ = together  # pyright: ignore[reportAttributeAccessIssue]
        spread.__annotations__ = {
            one.name: one.annotation for one in together.parameters.values()
        }
        return spread

    return decorate
