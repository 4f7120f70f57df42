"""The application: its commands, its global options and its way with errors."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from equicalc._version import __version__
from equicalc.cli.ablate import ablate
from equicalc.cli.analyze import analyze
from equicalc.cli.conformers import conformers
from equicalc.cli.crystals import crystals
from equicalc.cli.data import data
from equicalc.cli.design import design
from equicalc.cli.embed import embed
from equicalc.cli.errors import ErrorLine
from equicalc.cli.evaluate import evaluate
from equicalc.cli.evaluate_molecules import evaluate_molecules
from equicalc.cli.generate import complete, generate
from equicalc.cli.info import info
from equicalc.cli.label import label
from equicalc.cli.md import md
from equicalc.cli.models import models
from equicalc.cli.predict import predict
from equicalc.cli.prune import prune
from equicalc.cli.qm9 import qm9
from equicalc.cli.relax import relax
from equicalc.cli.report import report
from equicalc.cli.train import train

app = typer.Typer(
    name="equicalc",
    cls=ErrorLine,
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(relax, md, label, train, evaluate),
    *(predict, embed, prune),
    *(generate, complete, evaluate_molecules),
    *(design, report),
    *(models, info),
):
    app.command(no_args_is_help=command not in (generate, models, info))(command)
app.add_typer(analyze)
app.add_typer(ablate)
app.add_typer(crystals)
for source in (conformers, qm9):
    data.command(no_args_is_help=True)(source)
app.add_typer(data)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"equicalc {__version__}")
        raise typer.Exit


@app.callback()
def configure(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more about what is done.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show it and end.",
        ),
    ] = False,
) -> None:
    """Equivariant networks for molecules and molecular crystals, ready and to train.

    Relax and move structures, make molecules, pack and score crystals, embed and search
    structures, design molecules, label data, train networks and look into them.

    Wherever a structure is asked for, give a [bold]file[/bold] in any format that ASE
    reads, a [bold]SMILES[/bold], or a file of SMILES ([cyan].smi[/cyan],
    [cyan].csv[/cyan]). The commands relax, md, predict, embed, analyze, complete and
    crystals take an index, too: [cyan]run.extxyz@-1[/cyan] is the last structure of a
    file. Those that ask for data (label, train, evaluate, prune) read whole files.

    A first try:

      [cyan]equicalc relax CCO[/cyan]                 relax ethanol
      [cyan]equicalc md CCO --time 2[/cyan]           2 ps of dynamics at 300 K
      [cyan]equicalc generate -n 20[/cyan]            20 new molecules
      [cyan]equicalc models[/cyan]                    which networks are there

    The exit code is 0 when all was done, 2 when something can be set right (one of
    several structures, too; [cyan]label[/cyan] only lists those that it made in vain),
    1 for an error of equicalc, 130 after Ctrl-C, 143 after SIGTERM.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(message)s"
    )


def main() -> None:
    """Run the command line; the entry point ``equicalc``."""
    app()
