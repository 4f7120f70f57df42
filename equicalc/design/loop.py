"""The loop: propose, work through the steps, learn from the scores, and again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from equicalc._version import __version__
from equicalc.data.locking import locked
from equicalc.workers import Workers

from .design import Best, Design
from .proposals import made, proposal_chunks, seed_of
from .search import Member, Population
from .stages import Stage, stages_of
from .step import batches
from .storage import ALIVE, Record, RunDatabase

__all__ = ["Progress", "open_database", "ranked", "run", "write_best"]

logger = logging.getLogger(__name__)

DATABASE = "run.db"


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    round, rounds
        The present one, counted from 0, and all of them.
    stage
        What is done.
    done, total
        Structures that are through, and all.
    """

    round: int
    rounds: int
    stage: str
    done: int
    total: int


def run(
    design: Design,
    workers: Workers | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> list[Record]:
    """Run a design, or go on with it.

    Every finished task is kept: the same call after an interruption, even ``kill -9``,
    does the rest and ends with the same structures and scores. More rounds may be
    asked for later.

    Parameters
    ----------
    design
        What to do.
    workers
        Who does it; by default this process.
    progress
        Called after every task.

    Returns
    -------
    list of Record
        The best structures, the best first. They have their place in ``info["rank"]``.

    Raises
    ------
    ValueError
        If the folder holds a run of another design, another process works in it, or a
        step names a method that there is not.
    MissingError
        If a step needs what no earlier step notes.
    ImportError
        If a step needs what is not installed.

    Notes
    -----
    In every round: 1. the search names parents, and the source makes molecules; 2.
    they pass through the stages, in tasks that are always cut in the same way; 3. the
    search takes over the scores.
    """
    design.output.mkdir(parents=True, exist_ok=True)
    with locked(design.output):
        database = open_database(design)
        _require_same(database, design)
        for part in (design.source, *design.steps):
            part.check()
        with workers or Workers() as team:
            loop = _Loop(design, database, team, progress or _ignore)
            population = Population()
            for number in range(design.rounds):
                population = loop.round(number, population)
        return _rank(database, design.best)


def open_database(design: Design) -> RunDatabase:
    """Open the database of a design's run."""
    return RunDatabase(design.database or design.output / DATABASE)


def ranked(records: Sequence[Record], best: Best) -> list[Record]:
    """Return the best of some records, the best first, with their ``rank``."""
    scored = [r for r in records if r.status == ALIVE and "score" in r.atoms.info]
    scored.sort(key=lambda record: (-record.atoms.info["score"], record.key))
    kept: list[Record] = []
    taken: dict[str, int] = {}
    for record in scored:
        molecule = record.atoms.info.get("smiles", record.key)
        taken[molecule] = taken.get(molecule, 0) + 1
        if taken[molecule] <= best.per_molecule and len(kept) < best.n:
            kept.append(_with_rank(record, len(kept) + 1))
    return kept


def write_best(path: str | Path, records: Sequence[Record]) -> None:
    """Write the best structures of a run to an extended-XYZ file."""
    from ase.io import write

    structures = [record.atoms.copy() for record in records]
    for record, atoms in zip(records, structures):
        atoms.info["key"] = record.key
    write(path, structures, format="extxyz")


@dataclass(frozen=True)
class _Loop:
    design: Design
    database: RunDatabase
    workers: Workers
    progress: Callable[[Progress], None]

    def round(self, number: int, population: Population) -> Population:
        """Do what is left of a round."""
        design = self.design
        rng = np.random.default_rng(seed_of(design.seed, number))
        parents = design.search.parents(population, design.molecules, rng)
        # 1
        self._propose(number, parents)
        # 2
        for stage in stages_of(design.steps):
            self._work(number, stage)
        # 3
        members = _members(self.database.records(round=number))
        keys = [one.key for chunk in proposal_chunks(number, parents) for one in chunk]
        offspring = [members.get(key) for key in keys]
        return design.search.updated(population, offspring, design.molecules, rng)

    def _propose(self, number: int, parents: Sequence[Member | None]) -> None:
        there = self.database.keys(round=number)
        chunks = proposal_chunks(number, parents)
        todo = [c for c in chunks if not any(one.key in there for one in c)]
        self._write(
            self.workers.map(partial(made, self.design.source, self.design.seed), todo),
            partial(Progress, number, self.design.rounds, "propose"),
            len(parents) - sum(map(len, todo)),
            len(parents),
        )

    def _work(self, number: int, stage: Stage) -> None:
        entering = stage.entering(self.database.records(round=number))
        if stage.choice is not None:
            tasks = [entering] if any(map(stage.pending, entering)) else []
            seen = self.database.smiles_before(number) if tasks else set()
            results: Iterator[list[Record]] = map(
                partial(stage.chosen, seen=seen), tasks
            )
        else:
            tasks = [
                chunk
                for chunk in batches(entering, stage.chunk)
                if any(map(stage.pending, chunk))
            ]
            results = self.workers.map(stage.advanced, tasks)
        self._write(
            results,
            partial(Progress, number, self.design.rounds, stage.name),
            len(entering) - sum(map(len, tasks)),
            len(entering),
        )

    def _write(
        self,
        results: Iterator[list[Record]],
        progress: Callable[[int, int], Progress],
        done: int,
        total: int,
    ) -> None:
        """Write each task's records as they come."""
        self.progress(progress(done, total))
        for records in results:
            self.database.write(records)
            done += len({record.key.partition(".")[0] for record in records})
            self.progress(progress(min(done, total), total))


def _members(records: Sequence[Record]) -> dict[str, Member]:
    """Molecules of a round that came to a score, by key."""
    scores: dict[str, float] = {}
    for record in records:
        if record.status == ALIVE and "score" in record.atoms.info:
            molecule = record.key.partition(".")[0]
            score = float(record.atoms.info["score"])
            scores[molecule] = max(score, scores.get(molecule, score))
    return {
        r.key: Member(r.key, r.atoms, scores[r.key], r.atoms.info.get("smiles", r.key))
        for r in records
        if r.key in scores
    }


def _rank(database: RunDatabase, best: Best) -> list[Record]:
    """Write the ranks of the best, and take those of an earlier call away."""
    records = database.records(status=ALIVE)
    now = ranked(records, best)
    ranks = {record.key: record.atoms.info["rank"] for record in now}
    changed = [
        _with_rank(record, ranks.get(record.key))
        for record in records
        if record.atoms.info.get("rank") != ranks.get(record.key)
    ]
    database.write(changed)
    return now


def _with_rank(record: Record, rank: int | None) -> Record:
    atoms = record.atoms.copy()
    atoms.info.pop("rank", None)
    if rank is not None:
        atoms.info["rank"] = rank
    return replace(record, atoms=atoms)


def _require_same(database: RunDatabase, design: Design) -> None:
    """Start a run in the database, or make sure that the run there is the same one."""
    found = {"design": design.choices(), "contents": design.contents()}
    if "design" not in database.settings:
        database.settings = {**found, "equicalc": __version__}
        return
    # early runs did not note what files hold
    before = {"contents": found["contents"], **database.settings}
    changed = [
        name
        for kind, now in found.items()
        for name in now
        if now[name] != before[kind].get(name)
    ]
    if changed:
        raise ValueError(
            f"{database.where} holds a run with another {', '.join(changed)}; give "
            "another output, or the design of that run to go on with it"
        )


def _ignore(progress: Progress) -> None:
    del progress
