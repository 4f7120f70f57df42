"""A step of a design: what becomes of a structure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Choice", "MissingError", "Rejected", "Step", "batches", "noted"]


class Rejected(Exception):  # noqa: N818  (an answer, not an error)
    """A structure goes no further; the message says why."""


class MissingError(ValueError):
    """A step needs what no earlier step has noted."""


class Step(BaseModel):
    """What is done with structures one by one.

    A step is its own configuration: fields are checked, unknown ones refused. Called
    with structures it yields those that go on, with what it found out in their
    ``info``; the ones given stay as they are. A kind of its own defines `each`, or
    `many` if structures are faster together; either follows from the other.

    Raises
    ------
    TypeError
        When a kind is made that defines neither.

    Examples
    --------
    >>> from ase.build import molecule
    >>> class Small(Step):
    ...     at_most: int
    ...
    ...     def each(self, atoms):
    ...         if len(atoms) > self.at_most:
    ...             raise Rejected(f"{len(atoms)} atoms")
    ...         return [atoms]
    >>> [str(a.symbols) for a in Small(at_most=3)([molecule("H2O"), molecule("CH4")])]
    ['OH2']
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    #: Whether a structure becomes several, with names of their own in ``branch``.
    expands: ClassVar[bool] = False
    #: How many structures are a task for one process.
    chunk: ClassVar[int] = 64

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.each is Step.each and cls.many is Step.many:
            raise TypeError(f"the step {cls.__name__} defines neither each nor many")

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Return what a structure becomes.

        Raises
        ------
        Rejected
            If it goes no further.
        """
        [outcome] = self.many([atoms])
        if isinstance(outcome, Rejected):
            raise outcome
        return outcome

    def many(self, structures: Sequence[Atoms]) -> list[list[Atoms] | Rejected]:
        """Return for every structure what it becomes, or why it goes no further.

        An error of `each` concerns that structure alone, unless it says that a package
        or an earlier step is missing.
        """
        return [self._answer(atoms) for atoms in structures]

    def check(self) -> None:
        """Raise an error if a model, method or package that the step needs is missing.

        A run asks all steps before it begins. An error of `each` is too late: it would
        reject every structure.
        """

    def __call__(self, structures: Iterable[Atoms]) -> Iterator[Atoms]:
        """Yield the structures that go on, in order."""
        for batch in batches(structures, self.chunk):
            for outcome in self.many(batch):
                if not isinstance(outcome, Rejected):
                    yield from outcome

    def _answer(self, atoms: Atoms) -> list[Atoms] | Rejected:
        try:
            return self.each(atoms)
        except Rejected as reason:
            return reason
        except (ImportError, MissingError):
            raise
        except Exception as error:  # a calculator raises whatever it likes
            return Rejected(f"{type(error).__name__}: {error}")


class Choice(Step, ABC):
    """A step that must see all structures of a round before it can decide."""

    @abstractmethod
    def reasons(self, structures: Sequence[Atoms], seen: Collection[str]) -> list[str]:
        """Say for every structure why it goes no further; empty if it does.

        Parameters
        ----------
        structures
            Of the round, in the order of their keys.
        seen
            SMILES of the structures of earlier rounds.
        """

    def many(self, structures: Sequence[Atoms]) -> list[list[Atoms] | Rejected]:
        """Return for every structure itself, or why it goes no further."""
        return [
            Rejected(reason) if reason else [atoms]
            for atoms, reason in zip(structures, self.reasons(structures, ()))
        ]

    def __call__(self, structures: Iterable[Atoms]) -> Iterator[Atoms]:
        """Yield the structures that go on, in order, once all have come."""
        everything = list(structures)
        reasons = self.reasons(everything, ())
        yield from (a for a, reason in zip(everything, reasons) if not reason)


def noted(atoms: Atoms, **info: Any) -> Atoms:
    """Return a copy of a structure that knows more.

    Examples
    --------
    >>> from ase.build import molecule
    >>> noted(molecule("H2O"), density=1.0).info
    {'density': 1.0}
    """
    copy = atoms.copy()
    copy.info.update(info)
    return copy


def batches(structures: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of so many, the last one may be shorter.

    Examples
    --------
    >>> list(batches(range(5), 2))
    [[0, 1], [2, 3], [4]]
    """
    rest = iter(structures)
    while batch := list(islice(rest, size)):
        yield batch
