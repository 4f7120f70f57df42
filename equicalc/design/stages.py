"""Stages of a round: steps between two looks at all of its structures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .registry import described
from .step import Choice, Rejected, Step
from .storage import ALIVE, EXPANDED, Record

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Stage", "labels_of", "stages_of"]


@dataclass(frozen=True)
class Stage:
    """Steps that structures take alone, or one choice among all of them.

    Attributes
    ----------
    number
        Of the stage in its round.
    steps
        In this order, by their labels.
    """

    number: int
    steps: dict[str, Step]

    @property
    def name(self) -> str:
        """What it does."""
        return ", ".join(self.steps)

    @property
    def choice(self) -> Choice | None:
        """The choice, if it is one."""
        [first, *_] = self.steps.values()
        return first if isinstance(first, Choice) else None

    @property
    def chunk(self) -> int:
        """How many structures are a task."""
        return min(step.chunk for step in self.steps.values())

    def entering(self, records: Sequence[Record]) -> list[Record]:
        """Return the records of a round that enter the stage or have done so."""
        return [r for r in records if r.born <= self.number <= r.stage]

    def pending(self, record: Record) -> bool:
        """Whether a record that entered has not been through."""
        return record.status == ALIVE and record.stage == self.number

    def advanced(self, records: Sequence[Record]) -> list[Record]:
        """Take records through all steps.

        Returns
        -------
        list of Record
            All of them as they are now, and those that they were expanded to.
        """
        done: list[Record] = []
        moving = list(records)
        for label, step in self.steps.items():
            if not moving:
                break
            outcomes = step.many([record.atoms for record in moving])
            arrived = [
                one
                for record, outcome in zip(moving, outcomes)
                for one in self._after(label, step, record, outcome)
            ]
            done += [record for record in arrived if record.status != ALIVE]
            moving = [record for record in arrived if record.status == ALIVE]
        return done + [replace(record, stage=self.number + 1) for record in moving]

    def chosen(self, records: Sequence[Record], seen: Collection[str]) -> list[Record]:
        """Make the choice.

        Parameters
        ----------
        records
            All that enter the stage.
        seen
            SMILES of earlier rounds.
        """
        assert self.choice is not None
        [label] = self.steps
        reasons = self.choice.reasons([record.atoms for record in records], seen)
        return [
            record.rejected(label, reason)
            if reason
            else replace(record, step=label, stage=self.number + 1)
            for record, reason in zip(records, reasons)
        ]

    def _after(
        self,
        label: str,
        step: Step,
        record: Record,
        outcome: list[Atoms] | Rejected,
    ) -> list[Record]:
        """Return the records that a step turns one into."""
        if isinstance(outcome, Rejected):
            return [record.rejected(label, str(outcome))]
        if not step.expands:
            [atoms] = outcome
            return [replace(record, atoms=atoms, step=label)]
        parent = replace(record, status=EXPANDED, step=label)
        return [parent, *(self._child(label, record, atoms) for atoms in outcome)]

    def _child(self, label: str, parent: Record, atoms: Atoms) -> Record:
        atoms = atoms.copy()
        return replace(
            parent,
            key=f"{parent.key}.{atoms.info.pop('branch')}",
            atoms=atoms,
            parents=(parent.key,),
            born=self.number + 1,
            step=label,
        )


def stages_of(steps: Sequence[Step]) -> list[Stage]:
    """Split steps where a choice needs all structures.

    Examples
    --------
    >>> from equicalc.design import Relax, Top, Unique, Valid
    >>> [stage.name for stage in stages_of([Valid(), Unique(), Relax(), Top(n=2)])]
    ['valid', 'unique', 'relax', 'top']
    """
    groups: list[dict[str, Step]] = []
    names = [name for step in steps for name in described(step)]
    for label, step in zip(labels_of(names), steps):
        before = list(groups[-1].values()) if groups else []
        if not before or isinstance(step, Choice) or isinstance(before[0], Choice):
            groups.append({label: step})
        else:
            groups[-1][label] = step
    return [Stage(number, group) for number, group in enumerate(groups)]


def labels_of(names: Sequence[str]) -> list[str]:
    """Give steps short labels, numbered where a name comes again.

    Examples
    --------
    >>> labels_of(["score", "top", "mine.steps:Polish", "score"])
    ['score', 'top', 'Polish', 'score 2']
    """
    short = [name.rpartition(":")[2] for name in names]
    times = [short[: k + 1].count(name) for k, name in enumerate(short)]
    return [name if n == 1 else f"{name} {n}" for name, n in zip(short, times)]
