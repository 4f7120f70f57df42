"""``equicalc data conformers``: endless molecules for the autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def conformers(
    smiles: Annotated[
        list[str],
        typer.Argument(help="SMILES, or files of them.", metavar="SMILES..."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the data set goes.")
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="Conformers.")] = 10_000,
    max_heavy_atoms: Annotated[
        int, typer.Option(min=1, help="Larger molecules are cut.")
    ] = 9,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Make random conformers of random molecules, as a packed data set.

    Molecules are drawn, cut at bonds that turn until they are small enough, embedded,
    turned about every bond that turns, and relaxed for a moment. Elements H C N O F.
    Stopped, by whatever, the same command goes on; once finished, it says so.

    [bold]Examples[/bold]

      [cyan]equicalc data conformers zinc.smi qm9.csv -n 100000 -o conformers[/cyan]

      [cyan]equicalc data conformers CCO 'CC(=O)NC' -n 20 -o few[/cyan]
    """
    from equicalc.cli import inputs
    from equicalc.cli.console import print_table, stdout
    from equicalc.data.conformer_set import write_conformers
    from equicalc.data.random_conformers import ConformerOptions
    from equicalc.data.smiles import is_smiles_file, read_smiles

    molecules: list[str] = []
    for text in smiles:
        if is_smiles_file(Path(text)):
            molecules += read_smiles(text)
        else:
            inputs.require_smiles(text)
            molecules.append(text)
    options = ConformerOptions(max_heavy_atoms=max_heavy_atoms)
    was_there = output.exists()
    dataset = write_conformers(
        output, molecules, n, options, seed=seed, workers=workers
    )
    atoms = int(dataset.column("n_atoms").sum())
    print_table(
        "Packed data set",
        [{"folder": str(output), "molecules": len(dataset), "atoms": atoms}],
    )
    if was_there:
        stdout.print(f"{output} was finished already: nothing was to be done")
