"""One setting varied, everything else kept: what it does to validity and uniqueness."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equicalc.models import Symphony, SymphonyPaper
from equicalc.nn.sphere_cells import SphereCells
from equicalc.nn.sphere_sampler import SphereSampler
from equicalc.training import train

from .builder import Builder, load_builder
from .metrics.evaluation import evaluate_molecules
from .steps import Temperature

if TYPE_CHECKING:
    from equicalc.training import TrainConfig

    from .rules import Rules

__all__ = [
    "measured",
    "over_degrees",
    "over_densities",
    "over_grids",
    "over_temperatures",
]

#: What is measured.
SHOWN = (
    "validity",
    "uniqueness",
    "constitutions",
    "strict_validity",
    "atom_stability",
    "molecule_stability",
)


def measured(
    builder: Builder,
    n: int = 1000,
    seed: int = 0,
    temperature: Temperature | None = None,
    rules: Rules | None = None,
) -> dict[str, float]:
    """Make molecules and return their measures in percent, and seconds for each.

    Parameters
    ----------
    builder
        What makes them.
    n, seed, temperature, rules
        See `Builder.generate`.
    """
    begun = time.perf_counter()
    molecules = builder.generate(n, seed, temperature=temperature, rules=rules)
    seconds = (time.perf_counter() - begun) / n
    table = evaluate_molecules(molecules)
    row = {name: round(table[name], 2) for name in SHOWN}
    return row | {"seconds": round(seconds, 4)}


def over_temperatures(
    builder: Builder,
    temperatures: Iterable[tuple[float, float]],
    n: int = 1000,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Measure a generator at pairs of temperatures: of the focus, of positions.

    References
    ----------
    .. [1] Daigavane et al., "Symphony", ICLR 2024, appendix G.3.
    """
    return [
        {"focus": focus, "position": position}
        | measured(builder, n, seed, Temperature(focus, position))
        for focus, position in temperatures
    ]


def over_grids(
    builder: Builder, rings: Iterable[int], n: int = 1000, seed: int = 0
) -> list[dict[str, float]]:
    """Measure a generator with other grids of directions to sample from.

    Parameters
    ----------
    builder
        Keeps its own grid.
    rings
        Rings of cells, which are not cut where a density is sharp; see
        `equicalc.nn.sphere_cells.SphereCells`.
    n, seed
        See `Builder.generate`.

    References
    ----------
    .. [1] Daigavane et al., "Symphony", ICLR 2024, appendix G.2.
    """
    owner = _sampler_owner(builder)
    own = owner.sampler
    rows = []
    try:
        for number in rings:
            cells = SphereCells(own.cells.harmonics, number, depth=0)
            owner.sampler = SphereSampler(cells)
            rows.append({"rings": number} | measured(builder, n, seed))
    finally:
        owner.sampler = own
    return rows


def over_degrees(
    config: TrainConfig, largest: Sequence[int], n: int = 1000
) -> Iterator[dict[str, Any]]:
    """Train a generator for each largest degree of positions and measure it.

    Parameters
    ----------
    config
        A run; those of the variants go into folders in its own.
    largest
        Largest degrees l.
    n
        Molecules to measure.

    Yields
    ------
    dict
        Measures of one variant; one that is trained already is only measured.

    References
    ----------
    .. [1] Daigavane et al., "Symphony", ICLR 2024, appendix G.1.
    """
    for l in largest:
        yield _trained(config, "l_max", l, {"position_ls": list(range(l + 1))}, n)


def over_densities(
    config: TrainConfig, numbers: Sequence[int], n: int = 1000
) -> Iterator[dict[str, Any]]:
    """Train a generator for each number of position channels; see `over_degrees`."""
    for number in numbers:
        yield _trained(config, "channels", number, {"densities": number}, n)


def _trained(
    config: TrainConfig, name: str, value: int, changes: dict[str, Any], n: int
) -> dict[str, Any]:
    folder = Path(config.output) / f"{name}-{value}"
    best = train(replace(config, output=str(folder), model=config.model | changes))
    return {name: value} | measured(load_builder(best), n)


def _sampler_owner(builder: Builder) -> Any:
    """Return the module that holds the sampler of directions."""
    if isinstance(builder.model, Symphony):
        return builder.model.placement
    if isinstance(builder.model, SymphonyPaper):
        return builder.model.density
    raise ValueError(
        f"{type(builder.model).__name__} has no grid of directions to sample from"
    )
