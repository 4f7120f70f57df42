"""A report of generated molecules: tables beside the papers', plots, pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .pictures import plot_distributions, plot_frontier, plot_molecules
from .published import MODELS, PUBLISHED, TITLES
from .statistics import Statistics

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Evaluated", "report_rows", "write_report"]

#: Measures without a published column.
OWN = (
    "strict_validity",
    "constitutions",
    "novelty",
    "atom_stability",
    "jsd/rings",
    "jsd/sizes",
    "jsd/bond_lengths",
)


@dataclass(frozen=True)
class Evaluated:
    """A set of molecules and what was measured of it.

    Attributes
    ----------
    name
        Of the set.
    molecules
        All of them, valid or not.
    table
        See `equicalc.generators.metrics.evaluate_molecules`.
    """

    name: str
    molecules: Sequence[Atoms]
    table: Mapping[str, Any]


def report_rows(
    tables: Mapping[str, Mapping[str, Any]], models: Sequence[str] = MODELS
) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Yield title and rows of every part of a report.

    Parameters
    ----------
    tables
        Name -> what `evaluate_molecules` returned; a column each, the papers' after
        them.
    models
        Whose published numbers to show.

    Examples
    --------
    >>> tables = {"mine": {"tools": {"lookup": {"validity": 91.234}}}}
    >>> title, rows = next(report_rows(tables))
    >>> rows[0]["measure"], rows[0]["mine"], rows[0]["EDM"]
    ('lookup validity', '91.23', '90.77')
    """
    for part, title in TITLES.items():
        places = [place for place in (*PUBLISHED, *OWN) if _part(place) == part]
        rows: list[dict[str, object]] = []
        for place in places:
            values = {name: _at(table, place) for name, table in tables.items()}
            if all(value is None for value in values.values()):
                continue
            published = dict(zip(MODELS, PUBLISHED.get(place, ())))
            digits = 2 if part in ("", "posebusters") else 4
            row: dict[str, object] = {"measure": _label(place)}
            for name in (*tables, *models):
                value = values.get(name, published.get(name))
                row[name] = "" if value is None else f"{value:.{digits}f}"
            rows.append(row)
        if rows:
            yield title, rows


def write_report(
    folder: Path, sets: Sequence[Evaluated], reference: Statistics, seed: int = 0
) -> Path:
    """Write ``metrics.json``, ``report.md`` and its pictures.

    Parameters
    ----------
    folder
        Exists.
    sets
        One or more sets of molecules; the pictures show the first, the frontier all.
    reference
        Statistics of the training set.
    seed
        Of the choice of the molecules that are drawn.

    Returns
    -------
    Path
        ``report.md``.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    tables = {one.name: one.table for one in sets}
    (folder / "metrics.json").write_text(json.dumps(tables, indent=1) + "\n")
    pictures = ["molecules.png"]
    plot_molecules(sets[0].molecules, folder / pictures[0], seed=seed)
    if sets[0].table["validity"] > 0:
        pictures.append("distributions.png")
        plot_distributions(sets[0].molecules, reference, folder / pictures[-1])
    if len(sets) > 1:
        pictures.append("frontier.png")
        plot_frontier(
            [
                (one.name, one.table["validity"], one.table["uniqueness"])
                for one in sets
            ],
            folder / pictures[-1],
        )
    path = folder / "report.md"
    path.write_text("\n".join(_markdown(tables, pictures)))
    return path


def _markdown(
    tables: Mapping[str, Mapping[str, Any]], pictures: Sequence[str]
) -> Iterator[str]:
    yield "# Generated molecules\n"
    for name, table in tables.items():
        yield f"- {name}: {table['n_molecules']} molecules; {_stamp(table)}"
    yield ""
    for title, rows in report_rows(tables):
        yield f"## {title}\n"
        yield f"| {' | '.join(rows[0])} |"
        yield f"|{'---|' * len(rows[0])}"
        yield from (f"| {' | '.join(map(str, row.values()))} |" for row in rows)
        yield ""
    yield from (f"![{Path(file).stem}]({file})\n" for file in pictures)


def _stamp(table: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in table["versions"].items())
    return f"{table['protocol']}; {versions}"


def _part(place: str) -> str:
    head = place.partition("/")[0]
    return head if head in TITLES else ""


def _at(table: Mapping[str, Any], place: str) -> float | None:
    value: Any = table
    for key in place.split("/", maxsplit=2):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _label(place: str) -> str:
    """Name for a row: without the part that the heading says."""
    head, _, rest = place.partition("/")
    text = rest if head in ("tools", *filter(None, TITLES)) else place
    return (text or head).replace("/", " ").replace("_", " ")
