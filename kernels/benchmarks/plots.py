"""Plots of benchmark results."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

COLORS = {"equicalc": "#2b6cb0", "plain e3nn": "#718096", "GFN2-xTB": "#c05621"}


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def _figure() -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(6.0, 4.0), layout="constrained")


def plot_scaling(
    rows: Sequence[dict[str, Any]], crossing: float | None, path: Path
) -> None:
    """Time against number of atoms, and where ours overtakes GFN2-xTB."""
    figure = _figure()
    axes = figure.subplots()
    for name, color in COLORS.items():
        mine = [row for row in rows if row["contender"] == name]
        n_atoms = [row["n_atoms"] for row in mine]
        axes.loglog(n_atoms, [r["ms"] for r in mine], "o-", ms=4, color=color)
        if mine:
            end = (n_atoms[-1], mine[-1]["ms"])
            axes.annotate(f" {name}", end, color=color, va="bottom", ha="right")
    if crossing:
        axes.axvline(crossing, color="#a0aec0", lw=0.8, ls="--")
        axes.annotate(f" {crossing:.0f} atoms", (crossing, axes.get_ylim()[0]))
    axes.set_xlabel("atoms")
    axes.set_ylabel("energy and forces / ms")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def plot_roofline(
    points: Sequence[tuple[str, float, float]],
    bandwidth: float,
    flops: float,
    path: Path,
) -> None:
    """Speed against intensity, under what the device can do at most.

    Parameters
    ----------
    points
        Name, floating-point operations per byte, operations per second.
    bandwidth, flops
        Peaks of the device, byte/s and operations/s.
    """
    figure = _figure()
    axes = figure.subplots()
    knee = flops / bandwidth
    axes.loglog([knee / 1e3, knee, knee * 10], [flops / 1e3, flops, flops], "k-", lw=1)
    for name, intensity, speed in points:
        axes.plot(intensity, speed, "o", ms=5)
        axes.annotate(f" {name}", (intensity, speed), va="center", fontsize=7)
    axes.set_xlabel("operations per byte")
    axes.set_ylabel("operations per second")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
