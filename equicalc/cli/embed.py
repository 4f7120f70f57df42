"""``equicalc embed``: what a network has learned about structures, as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equicalc.cli import inputs
from equicalc.cli.errors import USER_ERROR


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
    holds the same as one table. A structure that cannot be embedded is named and left
    out; the exit code is then 2.

    [bold]Examples[/bold]

      [cyan]equicalc embed molecules.extxyz -o atoms.npz[/cyan]

      [cyan]equicalc embed CCO CCN --level molecule --invariants -o table.csv[/cyan]

      [cyan]equicalc embed molecules.smi -m symphony --level molecule[/cyan]
    """
    from equicalc.cli.batch import usable
    from equicalc.cli.console import stderr, stdout
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
    level = embedder.checked_level(level)
    if pooling == "sum" and level == "atom":
        raise ValueError(
            "--pooling says how atoms make a molecule, and the rows are atoms: give "
            "--level molecule with it, or leave it out"
        )

    def write(chosen: list[inputs.Named]) -> None:
        write_embedding(
            output,
            embedder,
            [named.atoms for named in chosen],
            level=level,
            invariant=invariant,
            names=[named.name for named in chosen],
        )

    good = found
    try:
        write(found)
    except (ValueError, RuntimeError):  # of some: the others can be embedded
        good = usable(found, lambda atoms: embedder.embed(atoms, level=level))
        if good:
            write(good)
    if good:
        stdout.print(
            f"{len(good)} structures, {level}s as {embedder.irreps}"
            f"{' (invariants)' if invariant else ''}: {output}"
        )
    if len(good) < len(found):
        stderr.print(f"{len(found) - len(good)} of {len(found)} structures failed")
        raise typer.Exit(USER_ERROR)
