"""Names of steps, sources and searches in configuration files."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel

from . import choices, filters, packing, properties, relaxing, scoring, search, sources
from .imports import imported

__all__ = ["SEARCHES", "SOURCES", "STEPS", "described", "named"]

STEPS: dict[str, type[BaseModel]] = {
    "valid": filters.Valid,
    "plausible": filters.Plausible,
    "composition": filters.Composition,
    "synthesizable": filters.Synthesizable,
    "novel": filters.Novel,
    "window": filters.Window,
    "unique": choices.Unique,
    "top": choices.Top,
    "diverse": choices.Diverse,
    "relax": relaxing.Relax,
    "conformers": relaxing.Conformers,
    "properties": properties.Properties,
    "predict": properties.Predict,
    "embed": properties.Embed,
    "pack": packing.Pack,
    "lattice-energy": packing.LatticeEnergy,
    "score": scoring.Score,
}
SOURCES: dict[str, type[BaseModel]] = {
    "generator": sources.Generator,
    "fragment": sources.Fragment,
    "files": sources.Files,
}
SEARCHES: dict[str, type[BaseModel]] = {
    "evolution": search.Evolution,
    "monte-carlo": search.MonteCarlo,
}

Kind = TypeVar("Kind", bound=BaseModel)


def named(given: Any, known: dict[str, type[BaseModel]], kind: type[Kind]) -> Kind:
    """Build what a configuration names.

    Parameters
    ----------
    given
        A name, or a name with options, ``{"relax": {"fmax": 0.1}}``; what is built
        already stays. ``package.module:Class`` names a kind of the user's own.
    known
        Names that are known.
    kind
        What it must be.

    Raises
    ------
    ValueError
        If the name is unknown, or means something else.

    Examples
    --------
    >>> from equicalc.design import Step
    >>> named({"top": {"n": 3}}, STEPS, Step)
    Top(n=3, by='score')
    """
    if isinstance(given, kind):
        return given
    if isinstance(given, str):
        given = {given: {}}
    if not isinstance(given, dict) or len(given) != 1:
        raise ValueError(f"{given!r}: give a name, or one name with its options")
    [(name, options)] = given.items()
    found = imported(name) if ":" in name else known.get(name)
    if found is None:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise ValueError(f"unknown name {name!r}; {hint}")
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(f"{name} is no {kind.__name__}")
    return found.model_validate(options or {})


def described(part: BaseModel) -> dict[str, Any]:
    """Return name and options of a part of a design, as `named` reads them.

    Examples
    --------
    >>> described(choices.Unique())
    {'unique': {}}
    """
    kind = type(part)
    names = {
        k: name for group in (STEPS, SOURCES, SEARCHES) for name, k in group.items()
    }
    name = names.get(kind, f"{kind.__module__}:{kind.__qualname__}")
    return {name: part.model_dump(mode="json")}
