"""Learning curve and parity plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equicalc.training.errors import REPORTED, Predictions
from equicalc.training.logs import read_log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: At most so many points in a parity plot.
MAX_POINTS = 20_000


def plot_learning_curve(folder: Path) -> Path:
    """Draw losses and validation errors of a run against its steps.

    Parameters
    ----------
    folder
        Output of the run, with `train.csv` and `valid.csv`.

    Returns
    -------
    Path
        `learning_curve.png` in the folder.
    """
    figure = _figure(11, 4)
    left, right = figure.subplots(1, 2)
    for name in ("train", "valid"):
        rows = read_log(folder / f"{name}.csv")
        if rows:
            left.plot(_column(rows, "step"), _column(rows, "loss"), label=name)
    valid = read_log(folder / "valid.csv")
    for quantity in ("energy_per_atom", "forces"):
        if valid and f"{quantity}_mae" in valid[0]:
            label = f"{quantity.replace('_', ' ')}, {REPORTED[quantity][1]}"
            values = _column(valid, f"{quantity}_mae")
            right.plot(_column(valid, "step"), values, label=label)
    left.set(xlabel="step", ylabel="loss", yscale="log")
    right.set(xlabel="step", ylabel="validation MAE", yscale="log")
    for axes in (left, right):
        if axes.lines:
            axes.legend()
    return _save(figure, folder / "learning_curve.png")


def plot_terms(folder: Path, terms: Sequence[str]) -> Path:
    """Draw terms of the loss of a run against its steps.

    Parameters
    ----------
    folder
        Output of the run, with `train.csv` and `valid.csv`.
    terms
        Their names.

    Returns
    -------
    Path
        `learning_curve.png` in the folder.
    """
    figure = _figure(4 * len(terms), 4)
    for axes, term in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms):
        for name in ("train", "valid"):
            if rows := read_log(folder / f"{name}.csv"):
                axes.plot(_column(rows, "step"), _column(rows, term), label=name)
        axes.set(xlabel="step", ylabel=term)
        axes.legend()
    return _save(figure, folder / "learning_curve.png")


def plot_target_errors(folder: Path, units: Mapping[str, str]) -> Path:
    """Draw the validation errors of properties against the steps of a run.

    Parameters
    ----------
    folder
        Output of the run, with `valid.csv`.
    units
        Of every target, by its name.

    Returns
    -------
    Path
        `learning_curve.png` in the folder.
    """
    figure = _figure(4 * len(units), 4)
    rows = read_log(folder / "valid.csv")
    panels = figure.subplots(1, len(units), squeeze=False)[0]
    for axes, (target, unit) in zip(panels, units.items()):
        if rows:
            axes.plot(_column(rows, "step"), _column(rows, f"{target}_mae"))
        axes.set(xlabel="step", ylabel=f"MAE of {target}, {unit}", yscale="log")
    return _save(figure, folder / "learning_curve.png")


def plot_parity(predictions: Predictions, path: Path) -> Path:
    """Draw predictions against labels: energies per atom and force components.

    Parameters
    ----------
    predictions
        See `predict`.
    path
        The picture to write.
    """
    available = predictions.quantities()
    shown = [q for q in ("energy", "forces", "dipole") if q in available]
    figure = _figure(4.5 * len(shown), 4)
    for axes, quantity in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown):
        label = predictions[f"label_{quantity}"].astype(np.float64)
        residual = predictions.residual(quantity)
        name, unit = quantity, {"dipole": "e Å", "forces": "eV/Å"}.get(quantity, "eV")
        if quantity == "energy":
            n_atoms = predictions["n_atoms"]
            label, residual = label / n_atoms, residual / n_atoms
            name, unit = "energy per atom", "eV"
        label, residual = label.ravel(), residual.ravel()
        step = max(1, len(label) // MAX_POINTS)
        axes.plot(label[::step], (label + residual)[::step], ".", ms=2, alpha=0.5)
        axes.axline((label[0], label[0]), slope=1, color="black", lw=0.7)
        error = np.abs(residual).mean()
        axes.set(
            xlabel=f"label, {unit}",
            ylabel=f"prediction, {unit}",
            title=f"{name}: MAE {1000 * error:.3g} m{unit}",
        )
    return _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    """Return a figure that needs no display and leaves pyplot's state alone."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            'plots need matplotlib: pip install "equicalc[train]"'
        ) from None
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=150)
    return path


def _column(rows: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])
