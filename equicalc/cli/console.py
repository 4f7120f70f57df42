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
    """Print rows that have the same columns; units under the names.

    It fits into 80 characters; where a name is long, it goes on in the next line.
    """
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for name, value in rows[0].items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        header = name.replace("_", "\n", 1)
        justify = "right" if number else "left"
        table.add_column(header, justify=justify, no_wrap=number, overflow="fold")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    stdout.print(table)


def _shown(value: object) -> str:
    from rich.markup import escape

    if isinstance(value, bool):
        return "yes" if value else "[red]no[/red]"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.6g}"
    return escape(str(value))
