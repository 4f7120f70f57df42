"""Pictures of a report: histograms, random molecules, validity against uniqueness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from equicalc.analysis.drawing import render
from equicalc.analysis.plots import require_matplotlib

from .published import MODELS, PUBLISHED
from .statistics import Statistics
from .validity import valid_molecule

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes

__all__ = ["plot_distributions", "plot_frontier", "plot_molecules"]

#: Papers whose validity and uniqueness are shown beside a frontier.
PAPERS = ("Symphony", "EDM", "Quetzal")


def plot_distributions(
    molecules: Sequence[Atoms], reference: Statistics, path: Path
) -> None:
    """Draw bond lengths, elements, sizes and rings of the valid beside a reference.

    Raises
    ------
    ValueError
        If no molecule is valid.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    whole = [m for atoms in molecules if (m := valid_molecule(atoms)) is not None]
    found = Statistics.of(whole)
    kinds, _ = reference.commonest()
    figure = Figure(figsize=(12, 9), layout="constrained")
    axes = figure.subplots(3, 4).ravel()
    for ax, kind in zip(axes, kinds[:8]):
        _histograms(ax, found.bonds.get(kind, np.zeros(0)), reference.bonds[kind])
        ax.set_title(kind)
        ax.set_xlabel("length (Å)")
    for ax, name in zip(axes[8:], ("atoms", "environments", "rings", "sizes")):
        _bars(ax, found.counts[name], reference.counts[name])
        ax.set_title(name)
    axes[0].legend()
    figure.savefig(path, dpi=120)


def plot_molecules(
    molecules: Sequence[Atoms], path: Path, n: int = 20, seed: int = 0
) -> None:
    """Draw random molecules; those that are not valid have a red title."""
    require_matplotlib()
    from matplotlib.figure import Figure

    chosen = np.random.default_rng(seed).permutation(len(molecules))[:n]
    figure = Figure(figsize=(12.5, 2.6 * -(-len(chosen) // 5)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(-(-len(chosen) // 5), 5)).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, k in zip(axes, np.sort(chosen)):
        atoms = molecules[k]
        ax.imshow(render(atoms, size=160))
        color = "0.2" if valid_molecule(atoms) is not None else "tab:red"
        ax.set_title(f"{k}: {atoms.get_chemical_formula()}", color=color, fontsize=9)
    figure.savefig(path, dpi=100)


def plot_frontier(points: Sequence[tuple[str, float, float]], path: Path) -> None:
    """Draw validity against uniqueness of several sets, the papers' beside them.

    Parameters
    ----------
    points
        Name, validity and uniqueness (percent).
    path
        File of the picture.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    ax = figure.subplots()
    ax.plot([p[2] for p in points], [p[1] for p in points], "o-")
    for name, validity, uniqueness in points:
        ax.annotate(name, (uniqueness, validity), fontsize=8)
    for name in PAPERS:
        validity, uniqueness = (
            PUBLISHED[f"tools/xyz2mol/{kind}"][MODELS.index(name)] or np.nan
            for kind in ("validity", "uniqueness")
        )
        ax.plot(uniqueness, validity, "k+")
        ax.annotate(name, (uniqueness, validity), fontsize=8, color="0.4")
    ax.set_xlabel("uniqueness among the valid (%)")
    ax.set_ylabel("validity, xyz2mol (%)")
    figure.savefig(path, dpi=120)


def _histograms(ax: Axes, found: np.ndarray, reference: np.ndarray) -> None:
    low, high = np.quantile(reference, [0.001, 0.999])
    bins = np.linspace(low - 0.05, high + 0.05, 40).tolist()
    ax.hist(reference, bins, density=True, color="0.75", label="reference")
    if len(found):
        ax.hist(found, bins, density=True, histtype="step", label="generated")


def _bars(ax: Axes, found: Mapping[str, int], reference: Mapping[str, int]) -> None:
    """Shares of the commonest twelve names."""
    names = sorted(reference, key=lambda name: -reference[name])[:12]
    if all(name.isdigit() for name in names):
        names.sort(key=int)
    place = np.arange(len(names))
    for counts, shift, color in ((reference, -0.2, "0.75"), (found, 0.2, "tab:blue")):
        total = max(sum(counts.values()), 1)
        ax.bar(
            place + shift, [counts.get(k, 0) / total for k in names], 0.4, color=color
        )
    ax.set_xticks(place, names, rotation=90 if len(names[0]) > 2 else 0, fontsize=7)
