"""A design: what to make, what to do with it, and what to look for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
)

from equicalc.data.yaml_files import read_yaml

from .contents import contents
from .registry import SEARCHES, SOURCES, STEPS, described, named
from .search import Evolution, Search
from .sources import Generator, Source
from .step import Step

__all__ = ["Best", "Design", "load_design"]


class Best(BaseModel):
    """How many structures are called the best at the end.

    Attributes
    ----------
    n
        Altogether.
    per_molecule
        Structures of the same molecule, crystals for instance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(default=20, ge=1)
    per_molecule: int = Field(default=1, ge=1)


class Design(BaseModel):
    """A design in the terms of its configuration file.

    Attributes
    ----------
    output
        Folder of the run.
    database
        URL of a PostgreSQL database; by default ``run.db`` in the folder.
    seed
        Of everything that is random.
    rounds, molecules
        How often molecules are proposed, and how many each time.
    source
        Where they come from.
    steps
        What is done with them, in this order.
    search
        How later rounds learn from the scores.
    best
        What the result is.

    Examples
    --------
    >>> design = Design(
    ...     output="run", steps=["valid", {"score": {"goals": {"rings": 1}}}]
    ... )
    >>> design.steps[0], design.source.model
    (Valid(strict=True), 'symphony')
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    output: Path
    database: str | None = None
    seed: int = Field(default=0, ge=0)
    rounds: int = Field(default=1, ge=1)
    molecules: int = Field(default=64, ge=1)
    source: Source = Generator()
    steps: tuple[Step, ...]
    search: Search = Evolution()
    best: Best = Best()

    @field_validator("output")
    @classmethod
    def _home(cls, given: Path) -> Path:
        return given.expanduser()

    @field_validator("source", mode="before")
    @classmethod
    def _source(cls, given: Any) -> Source:
        return named(given, SOURCES, Source)

    @field_validator("search", mode="before")
    @classmethod
    def _search(cls, given: Any) -> Search:
        return named(given, SEARCHES, Search)

    @field_validator("steps", mode="before")
    @classmethod
    def _steps(cls, given: Any) -> tuple[Step, ...]:
        if not isinstance(given, list | tuple) or not given:
            raise ValueError("give a list of at least one step")
        return tuple(_numbered(k, one) for k, one in enumerate(given, 1))

    @field_serializer("source", "search")
    def _described(self, part: BaseModel) -> dict[str, Any]:
        return described(part)

    @field_serializer("steps")
    def _all_described(self, steps: tuple[Step, ...]) -> list[dict[str, Any]]:
        return [described(step) for step in steps]

    def choices(self) -> dict[str, Any]:
        """Return what decides about the structures of a run, as JSON-able values."""
        content = json.loads(self.model_dump_json())
        free = ("output", "database", "rounds", "best")
        return {name: value for name, value in content.items() if name not in free}

    def contents(self) -> dict[str, str]:
        """Return what the files and functions of source and steps hold, hashed."""
        parts = (self.source, *self.steps)
        return {name: mark for part in parts for name, mark in contents(part).items()}


def load_design(path: str | Path) -> Design:
    """Read a design from a YAML file.

    Raises
    ------
    ValueError
        If it cannot be read, has an unknown key or a value that makes no sense.
    """
    content, _ = read_yaml(path)
    try:
        return Design.model_validate(content)
    except ValidationError as error:
        raise ValueError("\n".join([f"{path}:", *_problems(error)])) from None


def _numbered(number: int, given: Any) -> Step:
    """Build a step; complaints say which one it was."""
    try:
        return named(given, STEPS, Step)
    except ValidationError as error:
        [name] = given if isinstance(given, dict) else [given]
        raise ValueError(f"{number}, {name}: {'; '.join(_problems(error))}") from None
    except ValueError as error:
        raise ValueError(f"{number}: {error}") from None


def _problems(error: ValidationError) -> list[str]:
    """One line for each complaint of pydantic."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown key")
        elif item["type"] == "value_error":
            lines.append(f"{where}: {item.get('ctx', {})['error']}")
        elif item["type"] == "missing":
            lines.append(f"{where}: missing")
        else:
            lines.append(f"{where}: {item['msg'].lower()}, given {item['input']!r}")
    return lines
