"""``equicalc data``: public data sets, ready for training."""

from __future__ import annotations

import typer

data = typer.Typer(
    name="data",
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="Get public data sets ready for training.",
)


@data.callback()
def _group() -> None:
    """Get public data sets ready for training."""
