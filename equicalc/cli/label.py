"""``equicalc label``: make training structures and label them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from equicalc.cli import inputs

if TYPE_CHECKING:
    from equicalc.labelling import LabelOptions

WITH_FILE = ("output", "calculator", "workers", "scheduler")
"""Options that go before those of a file."""


def label(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="SMILES, files of SMILES, files of structures; or one YAML file that "
            "holds all options of a large run.",
            metavar="SOURCE...",
        ),
    ],
    calculator: Annotated[
        str | None,
        typer.Option(
            "--calculator",
            "-c",
            help="What labels: gfn2, equicalc[:model], emt or package.module:Class.",
            show_default="gfn2",
        ),
    ] = None,
    frames: Annotated[
        int, typer.Option(help="Structures made from each molecule.")
    ] = 10,
    dimers: Annotated[int, typer.Option(help="Random pairs of molecules.")] = 0,
    clusters: Annotated[int, typer.Option(help="Random clusters of molecules.")] = 0,
    elements: Annotated[
        str, typer.Option(help="Leave out molecules with other elements.")
    ] = "H,C,N,O,F,S,Cl",
    max_heavy_atoms: Annotated[
        int, typer.Option(help="Leave out larger molecules.")
    ] = 12,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes.", show_default="one for each core"),
    ] = None,
    scheduler: inputs.Scheduler = None,
    licence: Annotated[
        str, typer.Option(help="Licence of the labels, kept with them.")
    ] = "not stated",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder of the run.", show_default="labels"
        ),
    ] = None,
    seed: inputs.Seed = 0,
) -> None:
    """Make structures from molecules and label them with energies and forces.

    Each molecule gets conformers, which are distorted along normal modes, by Langevin
    dynamics at several temperatures, and by stretching and breaking bonds; random
    dimers and clusters on demand. The result is a packed data set in
    [cyan]OUTPUT/packed[/cyan], ready for [cyan]equicalc train[/cyan].

    A run that was stopped, by whatever, goes on when the same command is given again.
    Molecules that were left out and structures that failed are listed with the reason
    in the output folder; a run with some of these is done, and the exit code is 0.

    [bold]Examples[/bold]

      [cyan]equicalc label molecules.smi --frames 20 -o labels[/cyan]

      [cyan]equicalc label CCO O --dimers 100[/cyan]

      [cyan]equicalc label start.xyz --calculator my_package:MyCalculator[/cyan]

      [cyan]equicalc label configs/label-gfn2.yaml[/cyan]

      [cyan]equicalc label molecules.smi --scheduler tcp://login:8786[/cyan]
    """
    from equicalc import labelling
    from equicalc.cli.console import progress_bar, stdout
    from equicalc.data.packed import PackedDataset
    from equicalc.labelling.run import Progress
    from equicalc.labelling.shards import FAILURES_FILE, count_failures

    if len(sources) == 1 and Path(sources[0]).suffix in (".yaml", ".yml"):
        _refuse_unused(context)
        options = labelling.load_options(sources[0])
    else:
        folder = inputs.output_folder(output or Path("labels"))
        options = labelling.LabelOptions(
            sources=_sources(sources, folder, frames),
            out=str(folder),
            seed=seed,
            dimers=dimers,
            clusters=clusters,
            elements=tuple(part.strip() for part in elements.split(",")),
            max_heavy_atoms=max_heavy_atoms,
            licence=licence,
        )
    options = _overridden(options, output, calculator, workers)
    inputs.output_folder(Path(options.out).expanduser())
    with progress_bar() as bar:
        task = bar.add_task("labelling", total=None, note="")

        def report(now: Progress) -> None:
            note = f"{now.structures} structures, {now.failures} failures"
            bar.update(task, total=now.n_units, completed=now.units, note=note)

        packed = labelling.label(options, report, shlex.join(sys.argv), scheduler)
    stdout.print(f"{len(PackedDataset(packed))} labelled structures: {packed}")
    left_out, failed = count_failures(packed.parent)
    if left_out or failed:
        stdout.print(
            f"{left_out} molecules left out, {failed} structures failed; the reasons: "
            f"{packed.parent / FAILURES_FILE}"
        )


def _sources(given: list[str], folder: Path, frames: int) -> tuple:
    """Files as they are; SMILES through a file in the output folder."""
    from equicalc.data.smiles import canonical
    from equicalc.labelling import Source

    files = [text for text in given if inputs.is_file(text)]
    smiles = [text for text in given if text not in files]
    for text in smiles:
        inputs.require_smiles(text)
    if smiles:
        listed = folder / "molecules.smi"
        listed.write_text("".join(f"{canonical(text)}\n" for text in smiles))
        files.append(str(listed))
    return tuple(Source(path=path, frames=frames) for path in files)


def _refuse_unused(context: typer.Context) -> None:
    """Refuse options that a file of options decides about."""
    for name in context.params.keys() - {"sources", *WITH_FILE}:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"{flag} has no effect beside a file of options: set it in the file "
                f"(only {', '.join(f'--{n}' for n in WITH_FILE)} may be given as well)"
            )


def _overridden(
    options: LabelOptions,
    output: Path | None,
    calculator: str | None,
    workers: int | None,
) -> LabelOptions:
    """Options of a file with those of the command line on top."""
    from dataclasses import replace

    given = {
        "out": None if output is None else str(output),
        "calculator": calculator,
        "workers": workers,
    }
    return replace(options, **{k: v for k, v in given.items() if v is not None})
