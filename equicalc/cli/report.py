"""``equicalc report``: a page about a run of a design."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    database: Annotated[
        str,
        typer.Argument(
            help="run.db of a design, or the URL of its PostgreSQL database.",
            metavar="RUN.db",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the report.")
    ] = Path("report"),
    best: Annotated[
        int, typer.Option("-n", help="How many structures to show.", min=1)
    ] = 24,
) -> None:
    """Write a page about a run: what was made, what was rejected, and the best.

    [cyan]index.html[/cyan] needs no network and no other file to be looked at:
    pictures, molecules and crystals that can be turned, plots and tables. Beside it lie
    the plots as PNG, all structures as [cyan]structures.csv[/cyan] and the best as XYZ
    and CIF files.

    [bold]Examples[/bold]

      [cyan]equicalc report runs/first/run.db -o report[/cyan]
    """
    from equicalc.cli.console import stdout
    from equicalc.cli.inputs import output_folder
    from equicalc.design.report import write_report
    from equicalc.design.storage import RunDatabase

    if "://" not in database and not Path(database).is_file():
        raise FileNotFoundError(2, "No such file", database)
    page = write_report(RunDatabase(database), output_folder(output), best)
    stdout.print(f"open {page}")
