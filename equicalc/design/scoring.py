"""Scores: what a design is to become better at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    field_serializer,
    field_validator,
)

from .filters import known_property
from .imports import imported
from .step import Rejected, Step, noted

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Goal", "Score"]


class Goal(BaseModel):
    """What one property is worth.

    Attributes
    ----------
    weight
        Score per unit; negative for what is to be low.
    target
        Value to come near to: then the score is minus the weight per unit of distance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: FiniteFloat = 1.0
    target: FiniteFloat | None = None

    def worth(self, value: float) -> float:
        """Return the score of a value."""
        if self.target is None:
            return self.weight * value
        return -self.weight * abs(value - self.target)


class Score(Step):
    """Note the ``score`` of structures, the higher the better.

    Attributes
    ----------
    goals
        Property to `Goal`, or to its weight alone; their scores are added.
    function
        Instead, or on top: any callable from a list of structures to so many numbers,
        or ``"package.module:function"``.

    Examples
    --------
    >>> from ase.build import molecule
    >>> step = Score(function=lambda structures: [len(a) for a in structures])
    >>> [a.info["score"] for a in step([molecule("H2O"), molecule("CH4")])]
    [3.0, 5.0]
    """

    chunk = 16

    goals: dict[str, Goal] = Field(default_factory=dict)
    function: Callable[[list[Any]], ArrayLike] | str | None = None

    @field_validator("goals", mode="before")
    @classmethod
    def _weights(cls, goals: Any) -> Any:
        if not isinstance(goals, dict):
            return goals
        plain = (int, float)
        return {
            k: {"weight": v} if isinstance(v, plain) else v for k, v in goals.items()
        }

    @field_validator("function")
    @classmethod
    def _found(cls, function: Any) -> Any:
        if isinstance(function, str) and not callable(imported(function)):
            raise ValueError(f"{function} cannot be called")
        return function

    @field_serializer("function")
    def _named(self, function: Any) -> str | None:
        return _name_of(function) if callable(function) else function

    def many(self, structures: Sequence[Atoms]) -> list[list[Atoms] | Rejected]:
        """Score structures together; what is not finite goes no further."""
        scores = np.zeros(len(structures))
        for name, goal in self.goals.items():
            scores += [goal.worth(known_property(a, name)) for a in structures]
        if self.function is not None:
            scores += self._called(list(structures))
        return [
            [noted(atoms, score=float(score))]
            if np.isfinite(score)
            else Rejected(f"score {score}")
            for atoms, score in zip(structures, scores)
        ]

    def _called(self, structures: list[Atoms]) -> np.ndarray:
        function = self.function
        if isinstance(function, str):
            function = imported(function)
        assert callable(function)
        try:
            values = np.asarray(function(structures), dtype=np.float64)
        except Exception as error:  # whatever it raises
            raise ValueError(
                f"the function {_name_of(function)} of the score raised "
                f"{type(error).__name__}: {error}; mend it, or give another"
            ) from error
        if values.shape != (len(structures),):
            raise ValueError(
                f"the score of {len(structures)} structures has shape {values.shape}; "
                "one number for each is needed"
            )
        return values


def _name_of(function: Callable[..., Any]) -> str:
    """Return ``package.module:function``, of an object that can be called its class."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"
