"""``equicalc data qm9``: molecules with properties, split for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def qm9(
    folder: Annotated[
        Path, typer.Argument(help="Where the data set goes.", metavar="DIR")
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            help="The published archive, a folder of its files, or .npz arrays.",
            show_default="downloaded",
        ),
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(
            help="The published list of uncharacterised molecules.",
            show_default="downloaded with the archive",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="edm (100,000 / 17,748 / 13,083), paper (0.8 / 0.1 / 0.1), "
            "thesis (109,000 / 1,000 / rest) or none."
        ),
    ] = "edm",
    formula: Annotated[
        str | None,
        typer.Option(help="Its isomers only.", show_default="all molecules"),
    ] = None,
) -> None:
    """Get QM9: 130,831 molecules with twelve properties, split for training.

    What was downloaded is checked and kept; the same command goes on where it was
    stopped. Each part is a folder for [cyan]data.train[/cyan] and the like in a
    training file.

    [bold]Examples[/bold]

      [cyan]equicalc data qm9 qm9[/cyan]

      [cyan]equicalc data qm9 qm9 --source dsgdb9nsd.xyz.tar.bz2 --exclude
      uncharacterized.txt --split thesis[/cyan]

      [cyan]equicalc data qm9 isomers --formula C7H10O2 --split none[/cyan]

      [cyan]equicalc data qm9 isomers --source isomers.npz --split none[/cyan]
    """
    from equicalc.cli.console import print_table
    from equicalc.data.packed import PackedDataset
    from equicalc.data.qm9_set import prepare_qm9

    made = prepare_qm9(folder, source, exclude, split, formula)
    parts = [PackedDataset(path) for path in made]
    rows = [
        {"part": str(part.path), "molecules": len(part), "fields": len(part.fields)}
        for part in parts
    ]
    print_table("Packed data sets", rows)
