"""The page of a report and the files beside it."""

from __future__ import annotations

import base64
import csv
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from equicalc.design.storage import Record, RunDatabase

from .plots import write_plots
from .structures import depiction, model_of, viewer_script
from .summary import FunnelStep, Summary, summarise

__all__ = ["write_report"]

#: Rows of the table on the page; the CSV file has all.
ROWS = 500
#: Columns of that table that come first, and those that are left out.
FIRST = ("key", "rank", "score", "smiles", "formula")
HIDDEN = {"status", "step", "reason", "complete", "converged", "generator", "charge"}
#: How many numbers a card shows, the last ones noted, and which it never shows.
ON_CARD = 8
NOT_ON_CARD = {
    *("score", "log_prob", "focus_temperature", "position_temperature"),
    *("potential_energy", "pair_energy", "contact"),
}


def write_report(
    database: RunDatabase, folder: str | Path, n_best: int = 24, title: str = "Design"
) -> Path:
    """Write a report about a run.

    Parameters
    ----------
    database
        Of the run, which may still go on.
    folder
        Gets ``index.html`` with everything inside, ``structures.csv``, the plots as
        PNG and ``structures/`` with the best as XYZ, crystals as CIF.
    n_best
        How many structures to show.
    title
        Of the page.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    ValueError
        If there is no run in the database.
    ImportError
        If matplotlib is missing.
    """
    folder = Path(folder)
    summary = summarise(database, n_best)
    folder.mkdir(parents=True, exist_ok=True)
    links = _write_structures(summary.best, folder / "structures")
    plots = write_plots(summary, folder)
    _write_csv(summary.rows, folder / "structures.csv")
    shown = sorted(summary.alive, key=lambda row: -row.get("score", float("-inf")))
    parts = {
        "TITLE": html.escape(title),
        "ORIGIN": html.escape(_without_password(database.where)),
        "NUMBERS": _numbers(summary),
        "FUNNEL": "".join(_bar(step, summary.funnel) for step in summary.funnel),
        "CARDS": "".join(_card(r, links[r.key]) for r in summary.best),
        "PLOTS": "".join(_image(name, path) for name, path in plots.items()),
        "ROWS_NOTE": f"The best {ROWS} of {len(shown)}." if len(shown) > ROWS else "",
        "TABLE": _table(shown[:ROWS]),
        "DESIGN": html.escape(json.dumps(summary.settings, indent=1)),
        "VIEWER": viewer_script(),
        "SORTING": _own_file("tables.js"),
        "MODELS": _json({r.key: model_of([r.atoms]) for r in summary.best}),
    }
    page = folder / "index.html"
    page.write_text(filled(_own_file("page.html"), parts))
    return page


def filled(template: str, parts: dict[str, str]) -> str:
    """Put parts in the places of a template that are named ``$LIKE_THIS``.

    Examples
    --------
    >>> filled("<h1>$TITLE</h1>", {"TITLE": "costs $NOTHING"})
    '<h1>costs $NOTHING</h1>'
    """
    pieces = template.split("$")
    text = [pieces[0]]
    for piece in pieces[1:]:
        name = max((n for n in parts if piece.startswith(n)), key=len)
        text += [parts[name], piece[len(name) :]]
    return "".join(text)


def _numbers(summary: Summary) -> str:
    rows = summary.rows
    molecules = sum("." not in row["key"] for row in rows)
    values: dict[str, Any] = {
        "rounds": len({row["round"] for row in rows}),
        "molecules proposed": molecules,
        "crystals and conformers": len(rows) - molecules,
        "passed every step": len(summary.alive),
    }
    if summary.best:
        values["best score"] = _shown(summary.best[0].atoms.info["score"])
    return "".join(f"<div><b>{v}</b>{name}</div>" for name, v in values.items())


def _bar(step: FunnelStep, funnel: Sequence[FunnelStep]) -> str:
    widest = max(one.passed for one in funnel) or 1
    why = ", ".join(f"{html.escape(reason)}: {n}" for reason, n in step.reasons)
    note = f"{step.rejected} rejected ({why})" if step.rejected else ""
    return (
        f'<div>{html.escape(step.name)}</div><div class="bar">'
        f'<i style="width:{55 * step.passed / widest:.1f}%"></i>'
        f'<b>{step.passed}</b><span class="quiet">{note}</span></div>'
    )


def _card(record: Record, link: str) -> str:
    info = record.atoms.info
    names = [n for n in info if isinstance(info[n], float) and n not in NOT_ON_CARD]
    numbers = "".join(
        f"<dt>{html.escape(name.replace('_', ' '))}</dt><dd>{_shown(info[name])}</dd>"
        for name in ["score", *names[-ON_CARD:]]
    )
    smiles = str(info.get("smiles", ""))
    return (
        f'<div class="card"><b>{info.get("rank", "")}</b> '
        f"<code>{html.escape(smiles or str(record.atoms.symbols))}</code>"
        f"{depiction(smiles)}"
        f'<canvas width="520" height="400" data-key="{record.key}"></canvas>'
        f'<dl>{numbers}</dl><a class="quiet" href="{link}">{record.key}</a></div>'
    )


def _table(rows: Sequence[dict[str, Any]]) -> str:
    names = {name: None for row in rows for name in row}
    columns = [n for n in FIRST if n in names]
    columns += [n for n in names if n not in {*FIRST, *HIDDEN}]
    head = "".join(f"<th>{html.escape(n.replace('_', ' '))}</th>" for n in columns)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{html.escape(_shown(row.get(n, '')))}</td>" for n in columns)
        + "</tr>"
        for row in rows
    )
    return f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"


def _image(title: str, path: Path) -> str:
    encoded = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{title}" title="{title}" src="data:image/png;base64,{encoded}">'


def _write_structures(records: Sequence[Record], folder: Path) -> dict[str, str]:
    """Write structures and return their links, by key."""
    from ase.io import write

    folder.mkdir(exist_ok=True)
    links = {}
    for record in records:
        suffix = "cif" if record.atoms.pbc.all() else "xyz"
        write(folder / f"{record.key}.{suffix}", record.atoms)
        links[record.key] = f"structures/{record.key}.{suffix}"
    return links


def _write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    columns = list({name: None for row in rows for name in row})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _json(content: Any) -> str:
    """JSON that cannot end the script which it stands in."""
    return json.dumps(content, separators=(",", ":")).replace("</", "<\\/")


def _own_file(name: str) -> str:
    return files("equicalc.design.report").joinpath(name).read_text()


def _without_password(where: str) -> str:
    """Hide what stands between the user and the host of a URL.

    Examples
    --------
    >>> _without_password("postgresql://me:secret@host/run")
    'postgresql://host/run'
    """
    scheme, separator, rest = where.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else where
