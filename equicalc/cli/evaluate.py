"""``equicalc evaluate``: errors of a potential on labelled structures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from equicalc.cli import inputs


def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            help="A packed data set, or a file with energies and forces, or with "
            "the properties.",
            metavar="DATASET",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A shipped potential or network of properties, or the file of a "
            "checkpoint.",
            show_default="the shipped default",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for metrics.json, metrics.csv and parity.png.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Structures at a time.")] = 64,
    device: inputs.Device = "cpu",
) -> None:
    """Compare a potential, or a network of properties, with labelled structures.

    Prints mean absolute and root mean square errors of what is labelled; if the data
    set says how its structures were made, for each kind too.

    [bold]Examples[/bold]

      [cyan]equicalc evaluate test.extxyz[/cyan]

      [cyan]equicalc evaluate labels/packed -m best.safetensors -o errors[/cyan]

      [cyan]equicalc evaluate qm9/test -m qm9-u0[/cyan]
    """
    from equicalc.cli.console import print_table, stdout
    from equicalc.pretrained import weights_path
    from equicalc.training import evaluate_dataset

    weights = weights_path(model)
    if output is not None:
        inputs.output_folder(output)
    table = evaluate_dataset(
        model or weights, dataset, output=output, batch_size=batch_size, device=device
    )
    print_table(
        f"{weights.stem} on {table['n_structures']} structures of {dataset}",
        error_rows(table),
    )
    if output is not None:
        stdout.print(f"metrics and parity plot: {output}")


def error_rows(table: dict[str, Any]) -> list[dict[str, object]]:
    """Lay a table of errors out in rows, in the units that it names."""
    subsets = {"all": table, **table.get("kinds", {})}
    return [
        {
            "structures": name,
            "quantity": quantity,
            "MAE": errors[quantity]["mae"],
            "RMSE": errors[quantity]["rmse"],
            "unit": unit,
        }
        for name, errors in subsets.items()
        for quantity, unit in table["units"].items()
        if quantity in errors
    ]


def loss_rows(table: dict[str, float]) -> list[dict[str, object]]:
    """Lay a table of losses out in rows.

    Examples
    --------
    >>> loss_rows({"loss": 1.0})
    [{'term': 'loss', 'value': 1.0}]
    """
    return [{"term": name, "value": value} for name, value in table.items()]
