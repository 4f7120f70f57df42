"""``equicalc embed``: what a network has learned about structures, as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equicalc.cli import inputs


def embed(
    structures: inputs.Structures,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A shipped network (see [cyan]equicalc models[/cyan]) or the file of "
            "a checkpoint.",
            show_default="the shipped potential",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File: .npz or .csv.", metavar="FILE"),
    ] = Path("embedding.npz"),
    level: Annotated[
        str | None,
        typer.Option(
            help="One row for every atom, or every molecule.",
            show_default="atom, if the network has features of atoms",
        ),
    ] = None,
    invariant: Annotated[
        bool,
        typer.Option("--invariants", help="What does not turn with the structure."),
    ] = False,
    pooling: Annotated[
        str, typer.Option(help="How atoms make a molecule: mean or sum.")
    ] = "mean",
    batch_size: Annotated[int, typer.Option(help="Structures at a time.")] = 64,
    overwrite: inputs.Overwrite = False,
    seed: inputs.Seed = 0,
    device: inputs.Device = "auto",
) -> None:
    """Write the features that a network has learned, by irrep.

    An .npz holds an array (rows, channels, 2l+1) for every irrep, such as 0e (scalars),
    1o (vectors) and 2e, and beside them which atom of which structure a row is; a .csv
    holds the same as one table.

    [bold]Examples[/bold]

      [cyan]equicalc embed molecules.extxyz -o atoms.npz[/cyan]

      [cyan]equicalc embed CCO CCN --level molecule --invariants -o table.csv[/cyan]

      [cyan]equicalc embed molecules.smi -m symphony --level molecule[/cyan]
    """
    from equicalc.cli.console import stdout
    from equicalc.embedding import Embedder, write_embedding
    from equicalc.embedding.files import check_suffix

    check_suffix(output)
    inputs.refuse_inputs(structures, [output])
    inputs.refuse_existing([output], resume=None, overwrite=overwrite)
    inputs.output_folder(output.parent)
    found = inputs.read_structures(structures, seed)
    embedder = Embedder.from_pretrained(
        model,
        device=device,
        pooling=pooling,  # pyright: ignore[reportArgumentType]
        batch_size=batch_size,
    )
    level = level or embedder.levels[0]
    write_embedding(
        output,
        embedder,
        [named.atoms for named in found],
        level=level,  # pyright: ignore[reportArgumentType]
        invariant=invariant,
        names=[named.name for named in found],
    )
    stdout.print(
        f"{len(found)} structures, {level}s as {embedder.irreps}"
        f"{' (invariants)' if invariant else ''}: {output}"
    )
