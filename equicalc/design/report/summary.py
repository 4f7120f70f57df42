"""What a report says about a run, without its pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equicalc.design.stages import labels_of
from equicalc.design.storage import ALIVE, REJECTED, Record, RunDatabase

__all__ = ["FunnelStep", "Summary", "numbers_of", "summarise"]


@dataclass(frozen=True)
class FunnelStep:
    """How many structures a step let pass, and why it rejected others.

    Attributes
    ----------
    name
        Of the step.
    passed, rejected
        Numbers of structures.
    reasons
        The most frequent reasons with their numbers.
    """

    name: str
    passed: int
    rejected: int
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Summary:
    """A run in numbers.

    Attributes
    ----------
    rows
        One for each structure: its key, where it comes from, what became of it, and
        all single values of ``info``.
    embeddings
        By key, those that there are.
    funnel
        The steps in their order.
    best
        Records of the best structures, the best first.
    settings
        What the run was started with.
    """

    rows: list[dict[str, Any]]
    embeddings: dict[str, NDArray[np.float64]]
    funnel: list[FunnelStep]
    best: list[Record]
    settings: dict[str, Any]

    @property
    def alive(self) -> list[dict[str, Any]]:
        """Rows of the structures that passed all steps."""
        return [row for row in self.rows if row["status"] == ALIVE]


def summarise(database: RunDatabase, n_best: int) -> Summary:
    """Read a run.

    Parameters
    ----------
    database
        Of the run; it may still go on.
    n_best
        How many structures to show.

    Raises
    ------
    ValueError
        If there is no run in the database.
    """
    settings = database.settings
    if "design" not in settings:
        raise ValueError(f"{database.where} is not the database of a design")
    rows, embeddings, candidates = [], {}, []
    for record in database.stream():
        rows.append(_row(record))
        if "embedding" in record.atoms.info:
            embeddings[record.key] = np.asarray(record.atoms.info["embedding"])
        if record.status == ALIVE and "score" in record.atoms.info:
            candidates = sorted([*candidates, record], key=_place)[:n_best]
    rows.sort(key=lambda row: row["key"])
    steps = [name for step in settings["design"]["steps"] for name in step]
    names = ["propose", *labels_of(steps)]
    return Summary(rows, embeddings, _funnel(rows, names), candidates, settings)


def numbers_of(rows: Sequence[dict[str, Any]], name: str) -> NDArray[np.float64]:
    """Return a column, not a number where a row has none.

    Examples
    --------
    >>> numbers_of([{"gap": 2}, {}], "gap")
    array([ 2., nan])
    """
    return np.array([row.get(name, np.nan) for row in rows], dtype=np.float64)


def _place(record: Record) -> tuple[float, float, str]:
    """Sort by rank, then by score."""
    info = record.atoms.info
    return info.get("rank", np.inf), -info["score"], record.key


def _row(record: Record) -> dict[str, Any]:
    single = (str, int, float, bool, np.number)
    info = record.atoms.info
    return {
        "key": record.key,
        "round": record.round,
        "status": record.status,
        "step": record.step,
        "reason": record.reason,
        "parents": " ".join(record.parents),
        "formula": record.atoms.get_chemical_formula(),
        **{name: info[name] for name in sorted(info) if isinstance(info[name], single)},
    }


def _funnel(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[FunnelStep]:
    """Count what passed each step; children begin where their parent ended."""
    last = {row["key"]: names.index(row["step"]) for row in rows}
    passed = np.zeros(len(names) + 1, dtype=np.int64)
    reasons: list[Counter[str]] = [Counter() for _ in names]
    for row in rows:
        end = last[row["key"]]
        if row["status"] == REJECTED:
            reasons[end][_kind(row["reason"])] += 1
        through = end + 1 if row["status"] == ALIVE else end
        first = last[row["parents"]] if "." in row["key"] else 0
        passed[first:through] += 1
    return [
        FunnelStep(name, int(passed[k]), found.total(), tuple(found.most_common(3)))
        for k, (name, found) in enumerate(zip(names, reasons))
    ]


def _kind(reason: str) -> str:
    """Return a reason without its numbers, so that like ones add up.

    Examples
    --------
    >>> _kind("synthetic accessibility 6.3")
    'synthetic accessibility'
    """
    words = [word for word in reason.split() if not word[:1].isdigit()]
    return " ".join(words)[:60]
