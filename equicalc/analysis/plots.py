"""Plots of runs: energy and temperature against time, relaxations step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def require_matplotlib() -> None:
    """Say what to install if matplotlib is missing.

    Raises
    ------
    ImportError
        If it is.
    """
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(
            'plots need matplotlib: pip install "equicalc[analysis]"'
        ) from error


def plot_run(
    history: Mapping[str, np.ndarray], path: str | Path, title: str = ""
) -> Path:
    """Plot energies and temperature of molecular dynamics against time.

    Parameters
    ----------
    history
        Columns of a log, see `equicalc.simulation.Dynamics`.
    path
        File to write; its suffix decides about the format.
    title
        Above the plots.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    figure = new_figure(6.0, 4.2)
    top, bottom = figure.subplots(2, 1, sharex=True)
    time = history["time_fs"] / 1000.0
    for name, label, color in (
        ("potential_eV", "potential", "#2b6cb0"),
        ("total_eV", "total", "#1a202c"),
    ):
        energy = history[name] - history["potential_eV"][0]
        top.plot(time, energy, color=color, lw=1.0, label=label)
    _dress(top, "energy / eV")
    top.legend(frameon=False, ncols=2, loc="lower right")
    bottom.plot(time, history["temperature_K"], color="#c05621", lw=1.0)
    late = history["temperature_K"][len(time) // 2 :].mean()
    bottom.axhline(late, color="#718096", lw=0.8, ls="--")
    bottom.annotate(f"{late:.0f} K", (time[-1], late), ha="right", va="bottom")
    _dress(bottom, "temperature / K")
    bottom.set_xlabel("time / ps")
    top.set_title(title, loc="left", fontsize="medium")
    return _save(figure, path)


def plot_relaxation(
    energies: Sequence[float], fmax: Sequence[float], path: str | Path, title: str = ""
) -> Path:
    """Plot energy above the end (eV) and largest force (eV/Angstrom) by step.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    figure = new_figure(6.0, 2.6)
    left, right = figure.subplots(1, 2)
    left.plot(1000.0 * (np.asarray(energies) - energies[-1]), color="#2b6cb0", lw=1.2)
    _dress(left, "energy above the end / meV")
    right.semilogy(fmax, color="#c05621", lw=1.2)
    _dress(right, "largest force / eV Å⁻¹")
    for axes in (left, right):
        axes.set_xlabel("step")
    left.set_title(title, loc="left", fontsize="medium")
    return _save(figure, path)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _dress(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e2e8f0", lw=0.6)


def _save(figure: Figure, path: str | Path) -> Path:
    figure.savefig(path)
    return Path(path)
