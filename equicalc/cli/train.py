"""``equicalc train``: train a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    config: Annotated[Path, typer.Argument(help="YAML file.", metavar="CONFIG.yaml")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Another folder than the file says."),
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Stop after this time, HH:MM:SS.")
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Throw away the run in the output folder."),
    ] = False,
) -> None:
    """Train a network: from a configuration to the best weights.

    What it learns is the [cyan]task[/cyan] of the file: [cyan]potential[/cyan] (the
    default: energies, forces and more of labelled structures), [cyan]equitriton[/cyan]
    and [cyan]qm9net[/cyan] (properties of molecules; or, before that and without any
    labels, with [cyan]noise[/cyan] among the targets), [cyan]symphony[/cyan] and
    [cyan]symphony-paper[/cyan] (making molecules), [cyan]mo3enet[/cyan] (embedding
    them) and [cyan]head[/cyan] (properties from an embedding), [cyan]lattice[/cyan] and
    [cyan]lattice-paper[/cyan] (lattice energies, from what [cyan]equicalc crystals
    label[/cyan] wrote).

    The output folder gets [cyan]best.safetensors[/cyan] (for [cyan]--model[/cyan]),
    [cyan]metrics.json[/cyan], a CSV log and plots. A run that was stopped, by whatever,
    goes on exactly when the same command is given again.

    The smallest file (the other keys: [cyan]equicalc.training.TrainConfig[/cyan]):

      [cyan]output: runs/first[/cyan]

      [cyan]data: {train: labels/packed}[/cyan]

      [cyan]model: {cutoff: 5.0, channels: 32, layers: 3}[/cyan]

      [cyan]stop: {max_time: "01:00:00"}[/cyan]

    [bold]Examples[/bold]

      [cyan]equicalc train config.yaml[/cyan]

      [cyan]equicalc -v train config.yaml --max-time 00:10:00 -o runs/short[/cyan]
    """
    from dataclasses import replace

    import equicalc.crystals.tasks  # noqa: F401  (which adds those for crystals)
    from equicalc import training
    from equicalc.cli.console import print_table, stdout
    from equicalc.cli.evaluate import error_rows, loss_rows
    from equicalc.pretrained import weights_path
    from equicalc.training.memory import keep_freed_memory
    from equicalc.training.processes import process_number
    from equicalc.training.sources import expand_path

    changes: dict[str, Any] = {} if output is None else {"output": output}
    if max_time is not None:
        changes["stop"] = {"max_time": max_time}
    run = training.load_config(config, changes)
    if run.init is not None:
        run = replace(run, init=str(weights_path(expand_path(run.init))))
    check = None
    if run.task.startswith("symphony"):
        from equicalc.generators import quick_check

        check = quick_check()
    keep_freed_memory()
    best = training.train(run, resume=not fresh, check=check)
    if process_number(run.trainer.devices) > 0:
        return  # the first process tells
    metrics = json.loads((best.parent / "metrics.json").read_text())
    for part, table in metrics.items():
        rows = error_rows(table) if "units" in table else loss_rows(table)
        print_table(f"Errors on the {part} structures", rows)
    stdout.print(f"the best model: {best}")
