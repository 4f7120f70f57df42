"""The page of the demo: one HTML file with table, plots and moving molecules."""

import base64
import html
import json
from pathlib import Path
from typing import cast

from ase import Atoms
from ase.io import read

from equicalc.design.report import model_of, viewer_script

TEMPLATE = Path(__file__).parent / "data" / "page.html"


def write(path: Path, outcomes: list, calculator: str, seconds: float) -> None:
    """Fill the template: everything is inside, no other file is needed."""
    rows = [outcome.row() for outcome in outcomes]
    filled = (
        TEMPLATE.read_text()
        .replace("$CALCULATOR", html.escape(calculator))
        .replace("$SECONDS", f"{seconds:.0f}")
        .replace("$COUNT", str(len(outcomes)))
        .replace("$TABLE", table(rows))
        .replace("$CARDS", "\n".join(card(outcome) for outcome in outcomes))
        .replace("$VIEWER", viewer_script())
        .replace("$MOVIES", json.dumps([movie(outcome) for outcome in outcomes]))
    )
    path.write_text(filled)


def table(rows: list[dict]) -> str:
    def line(cells, tag):
        inside = "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells)
        return f"<tr>{inside}</tr>"

    return line(rows[0], "th") + "".join(line(row.values(), "td") for row in rows)


def card(outcome) -> str:
    pictures = "".join(
        f'<img src="data:image/png;base64,{encoded}" alt="{kind}">'
        for kind in ("relaxed", "relax", "md")
        for encoded in [base64.b64encode(png(outcome, kind)).decode()]
    )
    return (
        f"<section><h2>{html.escape(outcome.name)}</h2>"
        f'<div class="row"><canvas width="600" height="600"></canvas>{pictures}</div>'
        "</section>"
    )


def png(outcome, kind: str) -> bytes:
    return Path(f"{outcome.files}.{kind}.png").read_bytes()


def movie(outcome) -> dict:
    """What the viewer plays."""
    return model_of(cast("list[Atoms]", read(f"{outcome.files}.md.extxyz", ":")))
