"""Proposals of a round: new molecules and variants of the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
from ase import Atoms

from .search import Member
from .sources import Source
from .step import batches
from .storage import Record

__all__ = ["Proposal", "made", "proposal_chunks", "seed_of"]

#: Molecules that a generator makes together, and variants in one task.
FRESH, VARIANTS = 32, 4


@dataclass(frozen=True)
class Proposal:
    """A molecule to be made.

    Attributes
    ----------
    round, slot
        When, and its number in the round.
    number
        Its number in the run.
    parent
        What it is a variant of; None is a new molecule.
    """

    round: int
    slot: int
    number: int
    parent: Member | None

    @property
    def key(self) -> str:
        """Of the record."""
        return f"{self.round:03d}-{self.slot:06d}"


def proposal_chunks(
    round: int, parents: Sequence[Member | None]
) -> list[list[Proposal]]:
    """Split the proposals of a round into tasks, always in the same way.

    Examples
    --------
    >>> [[one.key for one in chunk] for chunk in proposal_chunks(2, [None, None])]
    [['002-000000', '002-000001']]
    """
    first = round * len(parents)
    proposals = [
        Proposal(round, slot, first + slot, parent)
        for slot, parent in enumerate(parents)
    ]
    return [
        chunk
        for is_new, group in groupby(proposals, lambda one: one.parent is None)
        for chunk in batches(group, FRESH if is_new else VARIANTS)
    ]


def made(source: Source, seed: int, chunk: Sequence[Proposal]) -> list[Record]:
    """Make the molecules of a task; what cannot be varied is rejected.

    A source that runs out of new molecules makes fewer.
    """
    if chunk[0].parent is None:
        structures = source.fresh([one.number for one in chunk], seed)
        return [
            Record(one.key, atoms, one.round, seed)
            for one, atoms in zip(chunk, structures)
        ]
    return [_variant(source, seed_of(seed, one.round, one.slot), one) for one in chunk]


def seed_of(*numbers: int) -> int:
    """Return a seed that depends on all the numbers.

    Examples
    --------
    >>> seed_of(0, 1, 2) == seed_of(0, 1, 2), seed_of(0, 1, 2) == seed_of(0, 2, 1)
    (True, False)
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _variant(source: Source, seed: int, proposal: Proposal) -> Record:
    assert proposal.parent is not None
    parents = (proposal.parent.key,)
    record = partial(Record, proposal.key, round=proposal.round, seed=seed)
    try:
        atoms = source.variant(proposal.parent.atoms, seed)
    except ValueError as error:  # a parent that the generator does not know
        return record(Atoms(), parents=parents).rejected("propose", str(error))
    return record(atoms, parents=parents)
