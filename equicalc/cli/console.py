"""What the commands print: messages, progress and tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

stdout = Console()
stderr = Console(stderr=True)

SHORT = 8  # letters of a text that goes on in no second line


def progress_bar() -> Progress:
    """Build a bar on stderr with a free text at its end; silent if not a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=stderr,
        disable=not stderr.is_terminal,
        transient=True,
    )


def print_table(title: str, rows: Sequence[dict[str, object]]) -> None:
    """Print rows; units go under the names of columns, empty columns are left out.

    It fits into 80 characters; where a name is long, it goes on in the next line.
    """
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name, "") for row in rows] for name in names}
    kept = {name: c for name, c in columns.items() if any(v != "" for v in c)}
    for name, values in kept.items():
        number = all(_is_number(value) for value in values if value != "")
        header = name.replace("_", "\n")
        justify = "right" if number else "left"
        whole = number or max(len(str(value)) for value in values) <= SHORT
        table.add_column(header, justify=justify, no_wrap=whole, overflow="fold")
    for row in zip(*kept.values(), strict=True):
        table.add_row(*map(_shown, row))
    stdout.print(table)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: object) -> str:
    from rich.markup import escape

    if isinstance(value, bool):
        return "yes" if value else "[red]no[/red]"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.6g}"
    return escape(str(value))
