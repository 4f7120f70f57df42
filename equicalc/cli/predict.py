"""``equicalc predict``: properties of molecules by a network."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

from equicalc.cli import inputs

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

    Which ones, the network says: [cyan]equicalc train[/cyan] with the task
    [cyan]qm9net[/cyan] or [cyan]equitriton[/cyan] makes one for any of QM9's twelve.
    Molecules should be relaxed, as those of QM9 are.

    [bold]Examples[/bold]

      [cyan]equicalc predict CCO 'CC(=O)O'[/cyan]

      [cyan]equicalc predict relaxed.extxyz -m qm9-properties[/cyan]

      [cyan]equicalc predict relaxed.extxyz -m gap.safetensors -o gaps.csv[/cyan]
    """
    from equicalc.calculators import PropertyPredictor
    from equicalc.cli.console import print_table, stdout
    from equicalc.header import read_header
    from equicalc.pretrained import weights_path

    inputs.refuse_inputs(structures, [output])
    inputs.refuse_existing([output], resume=None, overwrite=overwrite)
    inputs.output_folder(output.parent)
    found = inputs.read_structures(structures, seed)
    predictor = PropertyPredictor.from_pretrained(
        model, device=device, batch_size=batch_size
    )
    values = predictor.predict([named.atoms for named in found])
    rows = [
        {
            "structure": named.name,
            "formula": named.atoms.get_chemical_formula(),
            **{
                f"{name}_{unit}": float(values[name][k])
                for name, unit in predictor.units.items()
            },
        }
        for k, named in enumerate(found)
    ]
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print_table(f"Properties by {model}", rows[:SHOWN])
    card = read_header(weights_path(model))["card"]
    for key in ("level_of_theory", "limits"):
        if key in card:
            stdout.print(f"{key.replace('_', ' ')}: {card[key]}")
    stdout.print(f"{len(rows)} structures: {output}")
