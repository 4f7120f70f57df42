"""Which irreps a network uses: measured for each, and what follows from it."""

from __future__ import annotations

import copy
import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equicalc.analysis.measures import (
    gradient_times_activation,
    knn_r2,
    participation,
)
from equicalc.analysis.plots import new_figure
from equicalc.analysis.removal import Removals, targets_of
from equicalc.data.qm9 import TARGETS
from equicalc.embedding import Embedder
from equicalc.models import pruned

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from torch import nn

#: An irrep whose removal moves forces by less than this share of what the removal of
#: everything but scalars does is not used; by less than the second, hardly.
UNUSED, HARDLY_USED = 0.02, 0.2
#: Below this R2 an irrep of a network without energies tells little of a molecule.
UNSTRUCTURED = 0.1

#: What a figure shows of features, and of every answer of a network.
FEATURES = {
    "rms": "rms of a component",
    "participation": "effective channels",
    "knn_r2": "kNN R²",
}
MEASURES = {
    "attribution": "gradient × activation",
    "change": "changes without it by",
    "error": "MAE without it",
}


def _column(answer: str, measure: str) -> str:
    return "_".join(filter(None, [answer, measure, unit_of(answer, measure)]))


def unit_of(answer: str, measure: str = "error") -> str:
    """Return the unit of a measure of an answer, see `IrrepUse`.

    Examples
    --------
    >>> unit_of("energy"), unit_of("energy", "attribution"), unit_of("mu", "change")
    ('meV/atom', 'meV', 'Debye')
    """
    if answer == "energy":
        return "meV" if measure == "attribution" else "meV/atom"
    if answer == "force":
        return "meV/A"
    return TARGETS[answer].unit if answer in TARGETS else ""


@dataclass(frozen=True)
class IrrepUse:
    """What one irrep is worth to a network; NaN where it is not defined.

    Attributes
    ----------
    irrep : str
        ``"1o"``, say.
    channels : int
        In all layers together.
    rms : float
        Root mean square of a component.
    participation : float
        Effective number of channels, see `equicalc.analysis.measures.participation`.
    knn_r2 : float
        R2 of a property of the molecules, predicted as the mean of the five that are
        nearest by the irrep's invariants.
    attribution : dict
        Mean over the atoms of abs(gradient x activation): how far a prediction leans on
        the irrep, to first order. Of the ``energy`` (meV), or every target by name, in
        its unit.
    change : dict
        Mean absolute change when the irrep is removed from the network: of the
        ``energy`` per atom (meV), of a ``force`` component (meV/Angstrom), of targets.
    error : dict
        Mean absolute errors against labels when it is removed.
    parameters : float
        Share of the weights that go if its degree is dropped; scalars cannot be.
    advice : str
        What to do.
    """

    irrep: str
    channels: int
    rms: float
    participation: float
    knn_r2: float
    attribution: dict[str, float]
    change: dict[str, float]
    error: dict[str, float]
    parameters: float
    advice: str

    def row(self) -> dict[str, Any]:
        """Return all of it side by side, with units; empty where it is not defined."""
        row = asdict(self)
        for measure in MEASURES:
            row |= {_column(name, measure): x for name, x in row.pop(measure).items()}
        for last in ("parameters", "advice"):
            row[last] = row.pop(last)
        return {name: "" if x != x else x for name, x in row.items()}


@dataclass(frozen=True)
class IrrepAnalysis:
    """The use of every irrep of a network, measured on some structures.

    Attributes
    ----------
    uses : list of IrrepUse
        By degree.
    error : dict
        Mean absolute errors of the whole network, named as in `IrrepUse`; empty without
        labels.
    n_structures : int
        How many were looked at.
    """

    uses: list[IrrepUse]
    error: dict[str, float]
    n_structures: int

    def rows(self) -> list[dict[str, Any]]:
        """Return a table, without the columns that nothing is known of."""
        rows = [use.row() for use in self.uses]
        unknown = {name for name in rows[0] if all(row[name] == "" for row in rows)}
        return [{k: v for k, v in row.items() if k not in unknown} for row in rows]

    @property
    def answers(self) -> list[str]:
        """What the network predicts: ``energy``, ``force`` and other targets."""
        return list(dict.fromkeys(name for use in self.uses for name in use.change))

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Return the table in parts, narrow enough to read, by title."""
        title = f"Features of {self.n_structures} structures"
        columns = ("irrep", "channels", *FEATURES, "parameters")
        parts: dict[str, tuple[str, ...]] = {title: columns}
        for answer in self.answers:
            parts[answer] = ("irrep", *(_column(answer, name) for name in MEASURES))
        parts["What to do"] = ("irrep", "advice")
        rows = self.rows()
        return {
            title: [{k: v for k, v in row.items() if k in part} for row in rows]
            for title, part in parts.items()
        }

    def write_csv(self, path: str | Path) -> Path:
        """Write the table."""
        rows = self.rows()
        with Path(path).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        return Path(path)

    def plot(self, path: str | Path, title: str = "") -> Path:
        """Draw the measures as bars: features, then a row for every answer.

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        n_rows = 1 + len(self.answers)
        figure = new_figure(6.6, 2.2 * n_rows + 0.3)
        panels = figure.subplots(n_rows, 3, squeeze=False)
        for axes, (name, label) in zip(panels[0], FEATURES.items()):
            self._bars(axes, [getattr(use, name) for use in self.uses], label)
        for answer, line in zip(self.answers, panels[1:]):
            for axes, (name, label) in zip(line, MEASURES.items()):
                heights = [getattr(use, name).get(answer, np.nan) for use in self.uses]
                unit = unit_of(answer, name)
                self._bars(axes, heights, f"{answer}: {label}\n{unit}")
            if answer in self.error:
                line[-1].axhline(self.error[answer], color="#c05621", lw=1.0, ls="--")
                line[-1].set_yscale("log")
        figure.suptitle(title, fontsize="medium", x=0.01, ha="left")
        figure.savefig(path)
        return Path(path)

    def _bars(self, axes: Axes, heights: Sequence[float], label: str) -> None:
        """Draw a bar for every irrep; remove the panel if nothing is known."""
        if np.isnan(heights).all():
            axes.remove()
            return
        axes.bar([use.irrep for use in self.uses], heights, color="#2b6cb0", width=0.6)
        axes.set_title(label, fontsize="small")
        axes.spines[["top", "right"]].set_visible(False)


def analyze_irreps(
    embedder: Embedder,
    structures: Sequence[Atoms],
    values: NDArray[np.floating] | None = None,
    identities: Sequence[str] | None = None,
) -> IrrepAnalysis:
    """Measure what every irrep of a network is worth.

    1. Features of atoms: size, effective number of channels.
    2. Invariants of molecules: how well they tell a property.
    3. Predictions without one irrep after the other: change, and error if there are
       labels.
    4. Gradient times activation of a prediction.

    Parameters
    ----------
    embedder
        The network; 3 and 4 need one that predicts energies or properties.
    structures
        Results of their calculators are labels, and what is called as a target of the
        network in their ``info``, if all have it.
    values : (n,)
        Property of 2, NaN where it is unknown; without it there is no R2.
    identities
        Names of the molecules, so that conformers of one do not predict each other.

    References
    ----------
    .. [1] Lee, Galkin, Miret, "Deconstructing equivariant representations in molecular
       systems", 2024.

    Examples
    --------
    >>> from ase.build import molecule
    >>> embedder = Embedder.from_pretrained("potential", device="cpu")
    >>> found = analyze_irreps(embedder, [molecule("H2O"), molecule("CH4")])
    >>> [use.irrep for use in found.uses]
    ['0e', '1o', '2e']
    """
    embedder = Embedder(
        copy.deepcopy(embedder.model).requires_grad_(),
        layers=embedder.layers,
        pooling=embedder.pooling,
        batch_size=embedder.batch_size,
    )
    # 1. and 2. features
    level = "atom" if embedder.taps.per_atom else "molecule"
    features = embedder.embed(structures, level=level)
    invariants = embedder.invariants(structures)
    # 3. and 4. predictions
    removals = Removals.measured(embedder, structures)
    attributions = _attributions(embedder, structures)
    uses = []
    for mul, ir in embedder.irreps:
        name = str(ir)
        told = (
            np.nan if values is None else knn_r2(invariants[name], values, identities)
        )
        uses.append(
            IrrepUse(
                name,
                mul,
                float(np.sqrt(np.square(features[name]).mean())),
                participation(features[name]),
                told,
                attributions.get(name, {}),
                removals.change(name),
                removals.error(name),
                _share(embedder.model, ir.l),
                _advice(ir.l, removals.use(name), told, len(embedder.irreps)),
            )
        )
    return IrrepAnalysis(uses, removals.error(), len(structures))


def _attributions(
    embedder: Embedder, structures: Sequence[Atoms]
) -> dict[str, dict[str, float]]:
    """Mean over the atoms of abs(gradient x activation), by irrep and answer."""
    targets = targets_of(embedder)
    parts: dict[str, dict[str, list[NDArray[np.floating]]]] = {}
    for graph in embedder.graphs(structures):
        found = gradient_times_activation(embedder.taps, graph, targets)
        for answer, irreps in found.items():
            for irrep, rows in irreps.items():
                of_irrep = parts.setdefault(irrep, {})
                of_irrep.setdefault(answer, []).append(rows)
    return {
        irrep: {
            answer: float(np.abs(np.concatenate(rows)).mean())
            for answer, rows in answers.items()
        }
        for irrep, answers in parts.items()
    }


def _share(model: nn.Module, degree: int) -> float:
    """Share of the weights that go with a degree; NaN if it cannot be dropped."""
    try:
        smaller = pruned(model, {degree})
    except ValueError:
        return float("nan")
    size, whole = (sum(p.numel() for p in m.parameters()) for m in (smaller, model))
    return 1.0 - size / whole


def _advice(degree: int, use: float, told: float, n_irreps: int) -> str:
    if degree == 0:
        return "keep: scalars"
    if n_irreps == 1:
        return "keep: there is no other"
    if np.isnan(use):
        little = np.isfinite(told) and told < UNSTRUCTURED
        return "tells little: train without it and compare" if little else "keep"
    if use < UNUSED:
        return "drop"
    return "prune, fine-tune and compare" if use < HARDLY_USED else "keep"
