"""Plots of a run as PNG files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equicalc.analysis.plots import new_figure
from equicalc.analysis.projection import project

from .summary import Summary, numbers_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pareto_front", "write_plots"]

BLUE, RED, GREY, PALE = "#2b6cb0", "#c05621", "#94a3b8", "#dbe2ea"
UNITS = {
    "density": "g cm⁻³",
    "dipole_moment": "D",
    "energy": "eV",
    "gap": "eV",
    "lattice_energy": "kJ mol⁻¹",
    "molar_mass": "g mol⁻¹",
}
#: Numbers about a structure that nobody wants to see the distribution of.
DULL = {"molecule", "seed", "rank", "round", "charge", "log_prob", "spacegroup"}
PANELS = 9
MAPPED = 4  # structures at least


def write_plots(summary: Summary, folder: Path) -> dict[str, Path]:
    """Write all plots that a run has the numbers for.

    Returns
    -------
    dict
        Title to file.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    kinds: dict[str, Callable[[Summary], Figure | None]] = {
        "Distributions of properties": _distributions,
        "Scores by round": _rounds,
        "Pareto front": _pareto,
        "Map of embeddings": _map,
        "Lattice energy against density": _energies,
    }
    written = {}
    for title, plot in kinds.items():
        figure = plot(summary)
        if figure is not None:
            path = folder / f"{title.lower().replace(' ', '-')}.png"
            figure.savefig(path)
            written[title] = path
    return written


def pareto_front(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the points that no other one beats in both coordinates.

    Parameters
    ----------
    points : (n, 2)
        Both are to be high.

    Returns
    -------
    (n_front,)
        Their indices, by falling first coordinate.

    Examples
    --------
    >>> pareto_front(np.array([[0.0, 3.0], [1.0, 1.0], [2.0, 2.0]])).tolist()
    [2, 0]
    """
    order = np.lexsort((-points[:, 1], -points[:, 0]))
    highest = np.maximum.accumulate(points[order, 1])
    new = np.append(True, highest[1:] > highest[:-1])
    return order[: len(points)][new[: len(points)]]


def _distributions(summary: Summary) -> Figure | None:
    rows = summary.alive
    columns = {name: _finite(rows, name) for name in _numeric(rows)}
    varied = {k: v for k, v in columns.items() if len(v) > 1 and np.ptp(v) > 0}
    if not varied:
        return None
    n_rows = -(-min(len(varied), PANELS) // 3)
    figure = new_figure(9.0, 2.2 * n_rows)
    panels = figure.subplots(n_rows, 3, squeeze=False).ravel()
    for axes, (name, values) in zip(panels, varied.items()):
        everything = _finite(summary.rows, name)
        bins = np.histogram_bin_edges(everything, min(30, max(5, len(everything) // 3)))
        axes.hist(everything, bins, color=PALE, label="dropped on the way")
        axes.hist(values, bins, color=BLUE, label="left")
        axes.set_xlabel(_titled(name))
    panels[0].legend(frameon=False, fontsize="x-small")
    for axes in panels[len(varied) :]:
        axes.set_visible(False)
    return figure


def _rounds(summary: Summary) -> Figure | None:
    rows = [row for row in summary.alive if "score" in row]
    rounds = sorted({row["round"] for row in rows})
    if len(rounds) < 2:
        return None
    figure, axes = _single("round", "score")
    scores = [numbers_of([r for r in rows if r["round"] == k], "score") for k in rounds]
    axes.plot(rounds, [s.mean() for s in scores], color=GREY, marker="o", label="mean")
    axes.plot(rounds, [s.max() for s in scores], color=RED, marker="o", label="best")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return figure


def _pareto(summary: Summary) -> Figure | None:
    names = _goals(summary)
    rows = [row for row in summary.alive if all(name in row for name in names)]
    if len(names) < 2 or len(rows) < 2:
        return None
    (x, x_sign), (y, y_sign) = list(names.items())[:2]
    points = np.stack([numbers_of(rows, x), numbers_of(rows, y)], axis=1)
    front = pareto_front(points * [x_sign, y_sign])
    figure, axes = _single(_titled(x), _titled(y))
    everything = numbers_of(summary.rows, x), numbers_of(summary.rows, y)
    axes.scatter(*everything, s=8, color=PALE, label="dropped on the way")
    axes.scatter(*points.T, s=12, color=GREY, label="left")
    axes.step(*points[front].T, where="post" if x_sign < 0 else "pre", color=RED, lw=1)
    axes.scatter(*points[front].T, s=22, color=RED, label="nothing is better in both")
    axes.legend(frameon=False, fontsize="small")
    return figure


def _map(summary: Summary) -> Figure | None:
    rows = [row for row in summary.alive if row["key"] in summary.embeddings]
    if len(rows) < MAPPED:
        return None
    alive = {row["key"] for row in rows}
    dropped = [key for key in summary.embeddings if key not in alive]
    keys = [*dropped, *(row["key"] for row in rows)]
    points = project(np.stack([summary.embeddings[key] for key in keys]))
    figure, axes = _single("first axis", "second axis")
    axes.scatter(*points[: len(dropped)].T, s=8, color=PALE, label="dropped on the way")
    left = points[len(dropped) :]
    drawn = axes.scatter(*left.T, c=numbers_of(rows, "score"), s=16, cmap="viridis")
    figure.colorbar(drawn, label="score")
    axes.legend(frameon=False, fontsize="small")
    return figure


def _energies(summary: Summary) -> Figure | None:
    rows = [r for r in summary.alive if "lattice_energy" in r and "density" in r]
    if not rows:
        return None
    figure, axes = _single("density / g cm⁻³", "lattice energy / kJ mol⁻¹")
    for group in sorted({row["spacegroup"] for row in rows}):
        some = [row for row in rows if row["spacegroup"] == group]
        axes.scatter(
            numbers_of(some, "density"),
            numbers_of(some, "lattice_energy"),
            s=18,
            label=f"space group {group}",
        )
    axes.legend(frameon=False, fontsize="small")
    return figure


def _goals(summary: Summary) -> dict[str, float]:
    """Properties that the score is made of, with the sign of what is good."""
    goals: dict[str, float] = {}
    for step in summary.settings["design"]["steps"]:
        for name, goal in step.get("score", {}).get("goals", {}).items():
            if goal["target"] is None and goal["weight"]:
                goals[name] = float(np.sign(goal["weight"]))
    if any("sa_score" in row for row in summary.rows):
        goals.setdefault("sa_score", -1.0)
    return goals


def _numeric(rows: list[dict[str, Any]]) -> list[str]:
    """Columns of numbers, the score first."""
    names = {
        name
        for row in rows
        for name, value in row.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    return sorted(names - DULL, key=lambda name: (name != "score", name))


def _finite(rows: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    """Numbers of a column that are there."""
    values = numbers_of(rows, name)
    return values[np.isfinite(values)]


def _titled(name: str) -> str:
    """Title of an axis, with its unit if it has one."""
    title = name.replace("_", " ")
    return f"{title} / {UNITS[name]}" if name in UNITS else title


def _single(x: str, y: str) -> tuple[Figure, Any]:
    figure = new_figure(4.4, 3.4)
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
