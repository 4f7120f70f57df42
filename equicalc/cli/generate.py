"""``equicalc generate`` and ``equicalc complete``: make molecules."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from equicalc.cli import inputs

if TYPE_CHECKING:
    from ase import Atoms

Number = Annotated[int, typer.Option("-n", help="How many molecules.", min=1)]
Generator = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="A shipped generator or the file of a checkpoint."
    ),
]
File = Annotated[
    Path,
    typer.Option("--output", "-o", help="File: .extxyz, .db or .sdf.", metavar="FILE"),
]
Focus = Annotated[
    float, typer.Option(help="Temperature of focus, element and stopping.", min=0.01)
]
Position = Annotated[float, typer.Option(help="Temperature of positions.", min=0.01)]
Batch = Annotated[int, typer.Option(help="Molecules that grow in step.", min=1)]
ValidOnly = Annotated[
    bool, typer.Option("--valid-only", help="Write valid molecules only.")
]


def generate(
    n: Number = 100,
    model: Generator = "symphony",
    output: File = Path("molecules.extxyz"),
    seed: inputs.Seed = 0,
    focus_temperature: Focus = 0.8,
    position_temperature: Position = 0.3,
    valid_only: ValidOnly = False,
    batch_size: Batch = 128,
    time_limit: Annotated[
        float | None, typer.Option(help="Begin no batch after so many seconds.")
    ] = None,
    resume: inputs.Resume = False,
    overwrite: inputs.Overwrite = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Make molecules from nothing.

    Molecule k of a seed is always the same one. Lower temperatures make safer and less
    varied molecules.

    [bold]Examples[/bold]

      [cyan]equicalc generate -n 1000 --seed 0 -o mols.extxyz[/cyan]

      [cyan]equicalc generate -n 100 --valid-only -o mols.sdf[/cyan]
    """
    from equicalc import generators
    from equicalc.generators.storage import check_format, next_molecule

    check_format(output)
    inputs.refuse_existing([output], resume, overwrite)
    if overwrite:
        output.unlink(missing_ok=True)
    builder = generators.load_builder(model, device)
    first = next_molecule(output, seed)
    temperature = generators.Temperature(focus_temperature, position_temperature)
    end = None if time_limit is None else time.monotonic() + time_limit

    def batches() -> Iterable[Sequence[Atoms]]:
        for begin in range(first, n, batch_size):
            if end is not None and time.monotonic() > end:
                return
            size = min(batch_size, n - begin)
            yield builder.generate(
                size, seed, first=begin, batch_size=size, temperature=temperature
            )

    _write(batches(), n - first, output, valid_only)


def complete(
    structure: Annotated[
        str,
        typer.Argument(help="File or SMILES of the fragment.", metavar="STRUCTURE"),
    ],
    n: Number = 10,
    grow_from: Annotated[
        str | None,
        typer.Option(
            help="Indices of atoms to grow from, such as 0,3; all by default.",
            show_default=False,
        ),
    ] = None,
    model: Generator = "symphony",
    output: File = Path("completed.extxyz"),
    seed: inputs.Seed = 0,
    focus_temperature: Focus = 0.8,
    position_temperature: Position = 0.3,
    valid_only: ValidOnly = False,
    batch_size: Batch = 128,
    overwrite: inputs.Overwrite = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Add atoms to a fragment until it is a whole molecule.

    The atoms of the fragment keep their places and come first.

    [bold]Examples[/bold]

      [cyan]equicalc complete fragment.xyz -n 20 -o whole.extxyz[/cyan]

      [cyan]equicalc complete fragment.xyz --grow-from 2,5[/cyan]
    """
    from equicalc import generators
    from equicalc.generators.storage import check_format

    check_format(output)
    inputs.refuse_existing([output], False, overwrite)
    output.unlink(missing_ok=True)
    (fragment, *others) = inputs.read_structures([structure], seed)
    if others:
        raise ValueError(f"{structure} holds {len(others) + 1} structures: name one")
    builder = generators.load_builder(model, device)
    molecules = builder.complete(
        fragment.atoms,
        n,
        seed,
        grow_from=None if grow_from is None else _indices(grow_from),
        batch_size=batch_size,
        temperature=generators.Temperature(focus_temperature, position_temperature),
    )
    _write([molecules], n, output, valid_only)


def _write(
    batches: Iterable[Sequence[Atoms]],
    total: int,
    output: Path,
    valid_only: bool,
) -> None:
    """Write batches as they come, with a bar that counts the valid ones."""
    from equicalc.cli.console import progress_bar, stdout
    from equicalc.generators.metrics import valid_molecule
    from equicalc.generators.storage import append_structures

    made = valid = 0
    with progress_bar() as bar:
        task = bar.add_task("molecules", total=total, note="")
        for molecules in batches:
            good = [valid_molecule(atoms) is not None for atoms in molecules]
            made, valid = made + len(good), valid + sum(good)
            kept = [a for a, ok in zip(molecules, good) if ok or not valid_only]
            append_structures(output, kept)
            bar.update(task, completed=made, note=f"{valid} of {made} valid")
    share = f" ({100 * valid / made:.1f} %)" if made else ""
    stdout.print(f"{made} molecules made, {valid} valid{share}: {output}")


def _indices(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--grow-from {text!r}: give indices such as 0,3") from None
