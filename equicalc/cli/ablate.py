"""``equicalc ablate``: one setting of a generator varied, the rest kept."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from equicalc.cli import inputs

ablate = typer.Typer(
    name="ablate",
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="Vary temperature, grid, degrees or channels of a generator and measure it.",
)

Number = Annotated[int, typer.Option("-n", help="Molecules of every variant.", min=1)]
Generator = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="A shipped generator or the file of a checkpoint."
    ),
]
Config = Annotated[Path, typer.Argument(help="YAML file.", metavar="CONFIG.yaml")]
Table = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="CSV file for the rows.", show_default=False),
]
Values = Annotated[str, typer.Option(help="Values, separated by commas.")]


@ablate.command()
def temperature(
    n: Number = 1000,
    focus: Values = "0.6,0.8,1.0,1.1",
    position: Values = "0.1,0.2,0.4,1.0",
    model: Generator = "symphony",
    output: Table = None,
    seed: inputs.Seed = 0,
) -> None:
    """Show validity against uniqueness over the temperatures of focus and positions.

    [bold]Example[/bold]

      [cyan]equicalc ablate temperature -n 1000 -o frontier.csv[/cyan]
    """
    from equicalc.generators import load_builder
    from equicalc.generators.ablation import over_temperatures

    pairs = list(product(_numbers(focus), _numbers(position)))
    rows = over_temperatures(load_builder(model), pairs, n, seed)
    _show("Temperatures", rows, output)


@ablate.command()
def grid(
    n: Number = 1000,
    rings: Values = "8,16,32,64,128",
    model: Generator = "symphony",
    output: Table = None,
    seed: inputs.Seed = 0,
) -> None:
    """Resolution of the grid that directions are drawn from.

    [bold]Example[/bold]

      [cyan]equicalc ablate grid -n 1000 --rings 16,64[/cyan]
    """
    from equicalc.generators import load_builder
    from equicalc.generators.ablation import over_grids

    rows = over_grids(load_builder(model), _integers(rings), n, seed)
    _show("Grids", rows, output)


@ablate.command()
def degrees(
    config: Config,
    values: Values = "1,2,3,4,5",
    n: Number = 1000,
    output: Table = None,
) -> None:
    """Train the run of a configuration for several largest degrees of positions.

    [bold]Example[/bold]

      [cyan]equicalc ablate degrees configs/symphony-paper.yaml --values 1,2,5[/cyan]
    """
    from equicalc.generators.ablation import over_degrees
    from equicalc.training import load_config

    rows = list(over_degrees(load_config(config), _integers(values), n))
    _show("Degrees", rows, output)


@ablate.command()
def channels(
    config: Config,
    values: Values = "1,2,4",
    n: Number = 1000,
    output: Table = None,
) -> None:
    """Train the run of a configuration for several numbers of position channels.

    [bold]Example[/bold]

      [cyan]equicalc ablate channels configs/symphony-paper.yaml --values 1,2[/cyan]
    """
    from equicalc.generators.ablation import over_densities
    from equicalc.training import load_config

    rows = list(over_densities(load_config(config), _integers(values), n))
    _show("Channels", rows, output)


def _show(title: str, rows: list[dict], output: Path | None) -> None:
    import csv

    from equicalc.cli.console import print_table, stdout

    print_table(title, rows)
    if output is None:
        return
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    stdout.print(f"table: {output}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{text!r}: give numbers such as 0.5,1") from None


def _integers(text: str) -> list[int]:
    return [int(number) for number in _numbers(text)]
