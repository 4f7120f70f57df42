"""``equicalc prune``: drop degrees of a network and train what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equicalc.cli import inputs


def prune(
    model: Annotated[
        str,
        typer.Argument(
            help="A shipped potential or network of properties, or the file of a "
            "checkpoint.",
            metavar="MODEL",
        ),
    ],
    dataset: Annotated[
        str,
        typer.Argument(
            help="A packed data set or a file of structures; without energies (or the "
            "properties), the model's own are learned.",
            metavar="DATA",
        ),
    ],
    drop: Annotated[
        str, typer.Option("--drop", help="Degrees l to drop, such as 1,2.")
    ],
    max_time: Annotated[
        str, typer.Option("--time", help="Fine-tune for so long, HH:MM:SS; 0: not.")
    ] = "00:10:00",
    lr: Annotated[float, typer.Option(help="Largest learning rate.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(help="Structures per step.")] = 16,
    threads: Annotated[
        int | None, typer.Option(help="Threads of torch.", show_default="torch's own")
    ] = None,
    output: inputs.Output = Path("pruned"),
    overwrite: inputs.Overwrite = False,
    seed: inputs.Seed = 0,
) -> None:
    """Make a network smaller: without some degrees, fine-tuned, and compared.

    The output folder gets [cyan]best.safetensors[/cyan] (for [cyan]--model[/cyan],
    [cyan]EquiCalculator[/cyan] and [cyan]PropertyPredictor[/cyan]),
    [cyan]pruned.safetensors[/cyan] (before fine-tuning) and
    [cyan]prune.json[/cyan]: size, error on structures that were held back, and speed
    before and after. Which degrees are of little use says
    [cyan]equicalc analyze irreps[/cyan].

    [bold]Examples[/bold]

      [cyan]equicalc prune potential-gfn2 labels/packed --drop 2 -o smaller[/cyan]

      [cyan]equicalc prune qm9-u0 qm9/train --drop 1 -o scalars[/cyan]

      [cyan]equicalc prune my.safetensors data.extxyz --drop 1,2 --time 01:00:00[/cyan]
    """
    from equicalc.cli.console import print_table, stdout
    from equicalc.pretrained import weights_path
    from equicalc.training.config import TrainerConfig, seconds
    from equicalc.training.pruning import PruneSettings
    from equicalc.training.pruning import prune as prune_and_compare

    settings = PruneSettings(
        max_time=seconds(max_time),
        lr=lr,
        batch_size=batch_size,
        seed=seed,
        trainer=TrainerConfig(threads=threads),
    )
    weights, dropped = weights_path(model), degrees(drop)
    report = output / "prune.json"
    inputs.refuse_existing([report], resume=None, overwrite=overwrite)
    inputs.output_folder(output)
    result = prune_and_compare(weights, dataset, dropped, output, settings)
    print_table(
        f"{model} without {drop}, by the labels of {result.labels}", result.rows
    )
    stdout.print(f"the smaller model: {result.checkpoint}   table: {report}")


def degrees(text: str) -> set[int]:
    """Read degrees such as ``1,2``.

    Examples
    --------
    >>> sorted(degrees("2, 1"))
    [1, 2]
    """
    try:
        return {int(part) for part in text.split(",")}
    except ValueError:
        raise ValueError(f"--drop {text!r}: give degrees such as 1,2") from None
