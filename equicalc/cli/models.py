"""``equicalc models``: the networks that are there and what they are worth."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A shipped network or the file of a checkpoint: show its whole card.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for other programs.")
    ] = False,
) -> None:
    """List the shipped networks: what for, level of theory, errors, licence, origin.

    Potentials, a generator of molecules, an autoencoder, predictors of properties and
    of lattice energies.

    [bold]Examples[/bold]

      [cyan]equicalc models[/cyan]

      [cyan]equicalc models runs/first/best.safetensors[/cyan]
    """
    from equicalc.cli.console import stdout
    from equicalc.pretrained import available

    cards = available() if name is None else {name: _card(name)}
    if as_json:
        stdout.print_json(json.dumps(cards))
        return
    if not cards:
        stdout.print(
            "no network is shipped with this installation; train one with "
            "[cyan]equicalc train[/cyan]"
        )
    for title, card in cards.items():
        _print_card(title, card)


def _card(name: str) -> dict[str, Any]:
    from equicalc.header import read_header
    from equicalc.pretrained import weights_path

    header = read_header(weights_path(name))
    return {**header["card"], "model": header["model"]}


def _print_card(title: str, card: dict[str, Any]) -> None:
    """Print a card as a table: what matters most first."""
    from rich.markup import escape
    from rich.table import Table

    from equicalc.cli.console import stdout

    order = ("summary", "level_of_theory", "elements", "metrics", "licence", "command")
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("property", no_wrap=True)
    table.add_column("value", overflow="fold")
    shown = {**card, "elements": _symbols(card.get("elements", []))}
    first = [key for key in order if key in shown]
    for key in dict.fromkeys([*first, *shown]):
        table.add_row(key.replace("_", " "), escape(_readable(shown[key])))
    stdout.print(table)


def _symbols(numbers: list[int]) -> list[str]:
    """Symbols of atomic numbers."""
    from ase.data import chemical_symbols

    return [chemical_symbols[number] for number in numbers]


def _readable(value: object) -> str:
    """Write nested values as lines ``a.b: value``, lists with commas."""
    if isinstance(value, dict):
        return "\n".join(f"{k}: {_flat(v)}" for k, v in value.items())
    return _flat(value)


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_flat(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
