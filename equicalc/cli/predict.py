"""``equicalc predict``: properties of molecules by a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from equicalc.cli import inputs
from equicalc.cli.errors import USER_ERROR, exit_code, message_of, print_error

if TYPE_CHECKING:
    from equicalc.calculators import PropertyPredictor
    from equicalc.cli.results import Row

SHOWN = 10
"""Lines of the table."""


def predict(
    structures: inputs.Structures,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="A shipped network of properties or the file of a checkpoint.",
        ),
    ] = "qm9-u0",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Table, .csv.", metavar="FILE")
    ] = Path("properties.csv"),
    batch_size: Annotated[int, typer.Option(help="Structures at a time.")] = 64,
    overwrite: inputs.Overwrite = False,
    seed: inputs.Seed = 0,
    device: inputs.Device = "auto",
) -> None:
    """Predict properties of molecules with a network that was trained on them.

    A structure that it cannot tell anything of has a message in the table instead.
    Which properties, the network says: [cyan]equicalc train[/cyan] with the task
    [cyan]qm9net[/cyan] or [cyan]equitriton[/cyan] makes one for any of QM9's twelve.
    Molecules should be relaxed, as those of QM9 are.

    [bold]Examples[/bold]

      [cyan]equicalc predict CCO 'CC(=O)O'[/cyan]

      [cyan]equicalc predict relaxed.extxyz -m qm9-properties[/cyan]

      [cyan]equicalc predict relaxed.extxyz -m gap.safetensors -o gaps.csv[/cyan]
    """
    from equicalc.calculators import PropertyPredictor
    from equicalc.cli.console import print_table, progress_bar, stderr, stdout
    from equicalc.cli.results import kept, write_csv
    from equicalc.header import read_header
    from equicalc.pretrained import weights_path

    inputs.require_suffix(output, ".csv")
    inputs.refuse_inputs(structures, [output])
    inputs.refuse_existing([output], resume=None, overwrite=overwrite)
    inputs.output_folder(output.parent)
    found = inputs.read_structures(structures, seed)
    predictor = PropertyPredictor.from_pretrained(
        model, device=device, batch_size=batch_size
    )
    rows: list[Row] = []

    def write() -> None:
        if rows:
            write_csv(output, rows)

    with progress_bar() as bar, kept(write) as save:
        task = bar.add_task("structures", total=len(found), note="")
        for start in range(0, len(found), batch_size):
            rows += _rows(found[start : start + batch_size], predictor)
            bar.update(task, completed=len(rows))
            save()
    good = [row for row in rows if not row["message"]]
    for row in rows:
        if row["message"]:
            print_error(f"{row['structure']}: {row['message']}")
    if good:
        print_table(f"Properties by {model}", good[:SHOWN])
        card = read_header(weights_path(model))["card"]
        for key in ("level_of_theory", "limits"):
            if key in card:
                stdout.print(f"{key.replace('_', ' ')}: {card[key]}")
        stdout.print(f"{len(good)} structures: {output}")
    if len(good) < len(rows):
        stderr.print(f"{len(rows) - len(good)} of {len(rows)} structures failed")
        raise typer.Exit(USER_ERROR)


def _rows(found: Sequence[inputs.Named], predictor: PropertyPredictor) -> list[Row]:
    """Properties of some structures, or a message of what is wrong with them."""
    try:
        values = predictor.predict([named.atoms for named in found])
    except Exception as error:
        if exit_code(error) != USER_ERROR:
            raise
        if len(found) > 1:  # one of them: see which
            half = len(found) // 2
            return _rows(found[:half], predictor) + _rows(found[half:], predictor)
        message = message_of(error).removeprefix("structure 0: ")
        return [_row(found[0].name, "", predictor, None, message)]
    return [
        _row(
            named.name,
            named.atoms.get_chemical_formula(),
            predictor,
            {name: float(column[k]) for name, column in values.items()},
        )
        for k, named in enumerate(found)
    ]


def _row(
    structure: str,
    formula: str,
    predictor: PropertyPredictor,
    values: dict[str, float] | None,
    message: str = "",
) -> Row:
    """Line of the table."""
    row: Row = {"structure": structure, "formula": formula}
    for name, unit in predictor.units.items():
        row[f"{name}_{unit}"] = values[name] if values else ""
    row["message"] = message
    return row
