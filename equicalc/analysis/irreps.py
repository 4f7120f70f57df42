"""Which irreps a network uses: six numbers for each, and what follows from them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch_geometric.data import Data

from equicalc.data.atoms import atoms_labels
from equicalc.embedding import Embedder
from equicalc.models import evaluate, pruned

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from equicalc.models import Taps

#: An irrep whose removal moves forces by less than this share of what the removal of
#: everything but scalars does is not used; by less than the second, hardly.
UNUSED, HARDLY_USED = 0.02, 0.2
#: Below this R2 an irrep of a network without energies tells little of a molecule.
UNSTRUCTURED = 0.1

MEV = 1000.0


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
        Effective number of channels, tr(C)^2 / tr(C^2) of their covariance C: 1 if all
        say the same, `channels` if all say something of their own.
    knn_r2 : float
        R2 of a property of the molecules, predicted as the mean of the five that are
        nearest by the irrep's invariants; molecules of the same identity do not count.
    attribution : float
        Mean over the atoms of abs(sum of gradient x activation), meV: how far the
        energy leans on the irrep, to first order.
    energy_change, force_change : float
        Mean absolute change of the energy per atom (meV) and of a force component
        (meV/Angstrom) when the irrep is removed from the network.
    energy_error, force_error : float
        Mean absolute errors against labels when it is removed.
    parameters : float
        Share of the weights that go if its degree is dropped.
    advice : str
        What to do.
    """

    irrep: str
    channels: int
    rms: float
    participation: float
    knn_r2: float
    attribution: float
    energy_change: float
    force_change: float
    energy_error: float
    force_error: float
    parameters: float
    advice: str


@dataclass(frozen=True)
class IrrepAnalysis:
    """The use of every irrep of a network, measured on some structures.

    Attributes
    ----------
    uses : list of IrrepUse
        By degree.
    energy_error, force_error : float
        Mean absolute errors of the whole network, meV/atom and meV/Angstrom; NaN
        without labels.
    n_structures : int
        How many were looked at.
    """

    uses: list[IrrepUse]
    energy_error: float
    force_error: float
    n_structures: int

    def rows(self) -> list[dict[str, Any]]:
        """Return a table, without the columns that nothing is known of."""
        rows = [asdict(use) for use in self.uses]
        known = [
            name for name in rows[0] if any(row[name] == row[name] for row in rows)
        ]
        return [{name: row[name] for name in known} for row in rows]


def analyze_irreps(
    embedder: Embedder,
    structures: Sequence[Atoms],
    values: NDArray[np.floating] | None = None,
    identities: Sequence[str] | None = None,
) -> IrrepAnalysis:
    """Measure what every irrep of a network is worth.

    1. Features: size, effective number of channels.
    2. Invariants of molecules: how well they tell a property.
    3. Gradient times activation of the energy.
    4. Removal of one irrep after the other: change, and error if there are labels.

    Parameters
    ----------
    embedder
        The network; energies need one that predicts them.
    structures
        Energies and forces of their calculators, if all have them, are labels.
    values : (n,)
        Property of 2, NaN where it is unknown; without it there is no R2.
    identities
        Names of the molecules, so that conformers of one do not predict each other.

    References
    ----------
    .. [1] Lee, Galkin, Miret, "Deconstructing equivariant representations in molecular
       systems", 2024.
    .. [2] Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", ICLR
       Workshop 2014: gradients as importance.

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
        batch_size=embedder.batch_size,
    )
    names = [str(ir) for _, ir in embedder.irreps]
    # 1. features
    level = "atom" if embedder.taps.per_atom else "molecule"
    features = embedder.embed(structures, level=level)
    # 2. invariants
    invariants = embedder.invariants(structures)
    told = {
        name: np.nan if values is None else knn_r2(invariants[name], values, identities)
        for name in names
    }
    # 3. and 4. energies
    removals = _Removals.measured(embedder, structures, names)
    attributions = _attributions(embedder, structures, removals.energetic)
    uses = [
        IrrepUse(
            irrep=name,
            channels=mul,
            rms=float(np.sqrt(np.square(features[name]).mean())),
            participation=participation(features[name]),
            knn_r2=told[name],
            attribution=attributions.get(name, np.nan),
            **removals.numbers(name),
            parameters=_share(embedder.model, ir.l),
            advice=_advice(ir.l, removals.use(name), told[name]),
        )
        for name, (mul, ir) in zip(names, embedder.irreps)
    ]
    whole = removals.errors({})
    return IrrepAnalysis(uses, *whole, len(structures))


def participation(features: NDArray[np.floating]) -> float:
    """Return the participation ratio of the channels of (n, channels, 2l+1).

    Examples
    --------
    >>> participation(np.eye(3)[:, :, None])  # three channels, centred: two directions
    2.0
    """
    if features.shape[2] == 1:
        features = features - features.mean(axis=0)
    rows = features.transpose(0, 2, 1).reshape(-1, features.shape[1]).astype(float)
    covariance = rows.T @ rows
    total = np.square(covariance).sum()
    return float(np.round(np.trace(covariance) ** 2 / total, 9)) if total > 0 else 0.0


def knn_r2(
    points: NDArray[np.floating],
    values: NDArray[np.floating],
    identities: Sequence[str] | None = None,
    k: int = 5,
) -> float:
    """Return R2 of values predicted as the mean of the k nearest others.

    Parameters
    ----------
    points : (n, n_features)
        Where the structures are.
    values : (n,)
        NaN: left out.
    identities
        Structures of the same name are not neighbours.
    k
        Neighbours.

    Returns
    -------
    float
        1: all known; 0: no better than the mean; NaN for fewer than k + 2 values, or
        if all are the same.

    Examples
    --------
    >>> x = np.linspace(0, 1, 50)
    >>> knn_r2(x[:, None], x) > 0.99
    True
    """
    known = np.isfinite(values)
    points, values = points[known], values[known]
    spread = np.square(values - values.mean()).sum() if len(values) else 0.0
    if len(values) < k + 2 or spread == 0:
        return float("nan")
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    if identities is not None:
        name = np.array(identities)[known]
        distances[name[:, None] == name] = np.inf
    nearest = np.argsort(distances, axis=1)[:, :k]
    predicted = values[nearest].mean(axis=1)
    return float(1.0 - np.square(values - predicted).sum() / spread)


@dataclass
class _Removals:
    """Energies per atom and forces of a network as it is, and without irreps."""

    found: dict[tuple[str, ...], tuple[NDArray[np.floating], NDArray[np.floating]]]
    labels: tuple[NDArray[np.floating], NDArray[np.floating]] | None
    names: list[str]

    @classmethod
    def measured(
        cls, embedder: Embedder, structures: Sequence[Atoms], names: list[str]
    ) -> _Removals:
        """Evaluate the network without each irrep, and without all but the scalars."""
        if not _has_energies(embedder, structures):
            return cls({}, None, names)
        tensors = tuple(name for name in names if not name.startswith("0"))
        sets = [(), *((name,) for name in names), tensors]
        found = {removed: _evaluated(embedder, structures, removed) for removed in sets}
        return cls(found, _labels(structures), names)

    @property
    def energetic(self) -> bool:
        """Whether the network has energies at all."""
        return bool(self.found)

    def change(self, *removed: str) -> tuple[float, float]:
        """Mean absolute changes, meV/atom and meV/Angstrom."""
        return _distance(self.found[removed], self.found[()])

    def errors(self, removed: Mapping[str, float] | tuple[str, ...]) -> Any:
        """Mean absolute errors, meV/atom and meV/Angstrom; NaN without labels."""
        if self.labels is None or not self.found:
            return np.nan, np.nan
        return _distance(self.found[tuple(removed)], self.labels)

    def numbers(self, name: str) -> dict[str, float]:
        """Return change and error when one irrep is removed, for `IrrepUse`."""
        change = self.change(name) if self.found else (np.nan, np.nan)
        error = self.errors((name,))
        keys = ("energy_change", "force_change", "energy_error", "force_error")
        return dict(zip(keys, (*change, *error)))

    def use(self, name: str) -> float:
        """Change of the forces, as a share of that without all tensors."""
        tensors = tuple(n for n in self.names if not n.startswith("0"))
        if not self.found or not tensors:
            return np.nan
        return self.change(name)[1] / max(self.change(*tensors)[1], 1e-12)


def _has_energies(embedder: Embedder, structures: Sequence[Atoms]) -> bool:
    with torch.no_grad():
        out = embedder.taps.run(next(embedder.graphs(structures[:1])))
    return isinstance(out, Mapping) and "energies" in out


def _evaluated(
    embedder: Embedder, structures: Sequence[Atoms], removed: tuple[str, ...]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Energies per atom (n,) eV, and forces (n_atoms, 3) eV/Angstrom."""
    energies, forces = [], []
    factors = dict.fromkeys(removed, 0.0)
    with embedder.taps.scaled(factors) if removed else nullcontext():
        for graph in embedder.graphs(structures):
            out = evaluate(embedder.model, graph)
            energies.append((out["energy"] / graph["ptr"].diff()).cpu().numpy())
            forces.append(out["forces"].cpu().numpy())
    return np.concatenate(energies), np.concatenate(forces)


def _labels(
    structures: Sequence[Atoms],
) -> tuple[NDArray[np.floating], NDArray[np.floating]] | None:
    labels = [atoms_labels(atoms) for atoms in structures]
    if not all("energy" in label and "forces" in label for label in labels):
        return None
    energies = [
        float(label["energy"]) / len(atoms) for label, atoms in zip(labels, structures)
    ]
    return np.array(energies), np.concatenate([label["forces"] for label in labels])


def _distance(
    a: tuple[NDArray[np.floating], NDArray[np.floating]],
    b: tuple[NDArray[np.floating], NDArray[np.floating]],
) -> tuple[float, float]:
    energy, force = (float(MEV * np.abs(x - y).mean()) for x, y in zip(a, b))
    return energy, force


def _attributions(
    embedder: Embedder, structures: Sequence[Atoms], energetic: bool
) -> dict[str, float]:
    """Mean over atoms of the absolute gradient x activation by irrep, meV."""
    if not energetic:
        return {}
    sums: dict[str, list[NDArray[np.floating]]] = {}
    for graph in embedder.graphs(structures):
        for name, value in _gradient_times_activation(embedder.taps, graph):
            sums.setdefault(name, []).append(value)
    return {
        name: float(MEV * np.abs(np.concatenate(parts)).mean())
        for name, parts in sums.items()
    }


def _gradient_times_activation(
    taps: Taps, graph: Data
) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Yield irrep and (n_atoms,) eV, summed over channels, components and layers."""
    with torch.enable_grad(), taps.recorded() as outputs:
        energy = taps.run(graph)["energies"].sum()
        slopes = torch.autograd.grad(energy, outputs, allow_unused=True)
    n = len(taps.rows(graph))
    total: dict[str, torch.Tensor] = {}
    for tap, output, slope in zip(taps.features, outputs, slopes):
        if slope is None:
            continue
        for name, block in tap.split(output.detach() * slope).items():
            total[name] = total.get(name, 0.0) + block[:n].sum((1, 2))
    for name, value in total.items():
        yield name, value.cpu().numpy()


def _share(model: torch.nn.Module, degree: int) -> float:
    """Share of the weights that go with a degree; NaN if it cannot be dropped."""
    try:
        smaller = pruned(model, {degree})
    except ValueError:
        return float("nan")
    size, whole = (sum(p.numel() for p in m.parameters()) for m in (smaller, model))
    return 1.0 - size / whole


def _advice(degree: int, use: float, told: float) -> str:
    if degree == 0:
        return "keep: scalars"
    if np.isnan(use):
        little = np.isfinite(told) and told < UNSTRUCTURED
        return "tells little: train without it and compare" if little else "keep"
    if use < UNUSED:
        return "drop"
    return "prune, fine-tune and compare" if use < HARDLY_USED else "keep"
