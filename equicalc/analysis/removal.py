"""What a potential says without an irrep, beside what it says with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from equicalc.data.atoms import atoms_labels
from equicalc.models import evaluate

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from equicalc.embedding import Embedder

MEV = 1000.0


class Answers(NamedTuple):
    """Energies per atom (n,), eV, and forces (n_atoms, 3), eV/Angstrom."""

    energies: NDArray[np.floating]
    forces: NDArray[np.floating]

    def distance(self, other: Answers) -> tuple[float, float]:
        """Return mean absolute differences, meV/atom and meV/Angstrom."""
        energy, force = (MEV * np.abs(a - b).mean() for a, b in zip(self, other))
        return float(energy), float(force)


@dataclass(frozen=True)
class Removals:
    """Answers of a potential with everything, and without irreps.

    Attributes
    ----------
    answers
        What was removed, to answers; nothing at all for a network without energies.
    labels
        What the answers should be, if that is known.
    tensors
        The irreps that are no scalars.
    """

    answers: dict[tuple[str, ...], Answers]
    labels: Answers | None
    tensors: tuple[str, ...]

    @classmethod
    def measured(cls, embedder: Embedder, structures: Sequence[Atoms]) -> Removals:
        """Evaluate the network without each irrep, and with scalars alone."""
        names = [str(ir) for _, ir in embedder.irreps]
        tensors = tuple(str(ir) for _, ir in embedder.irreps if ir.l > 0)
        if not _has_energies(embedder, structures):
            return cls({}, None, tensors)
        removed = dict.fromkeys([(), *((name,) for name in names), tensors])
        answers = {names: _answers(embedder, structures, names) for names in removed}
        return cls(answers, _labels(structures), tensors)

    @property
    def energetic(self) -> bool:
        """Whether the network has energies at all."""
        return bool(self.answers)

    def change(self, *removed: str) -> tuple[float, float]:
        """Return mean absolute changes, meV/atom and meV/Angstrom; NaN if undefined."""
        if not self.energetic:
            return np.nan, np.nan
        return self.answers[removed].distance(self.answers[()])

    def error(self, *removed: str) -> tuple[float, float]:
        """Return mean absolute errors, meV/atom and meV/Angstrom; NaN if undefined."""
        if self.labels is None or not self.energetic:
            return np.nan, np.nan
        return self.answers[removed].distance(self.labels)

    def use(self, name: str) -> float:
        """Return the change of the forces as a share of that without all tensors."""
        whole = self.change(*self.tensors)[1] if self.tensors else np.nan
        return self.change(name)[1] / whole if whole > 0 else np.nan


def _has_energies(embedder: Embedder, structures: Sequence[Atoms]) -> bool:
    with torch.no_grad():
        out = embedder.taps.run(next(embedder.graphs(structures[:1])))
    return isinstance(out, Mapping) and "energies" in out


def _answers(
    embedder: Embedder, structures: Sequence[Atoms], removed: tuple[str, ...]
) -> Answers:
    energies, forces = [], []
    factors = dict.fromkeys(removed, 0.0)
    with embedder.taps.scaled(factors) if removed else nullcontext():
        for graph in embedder.graphs(structures):
            out = evaluate(embedder.model, graph)
            energies.append((out["energy"] / graph["ptr"].diff()).cpu().numpy())
            forces.append(out["forces"].cpu().numpy())
    return Answers(np.concatenate(energies), np.concatenate(forces))


def _labels(structures: Sequence[Atoms]) -> Answers | None:
    """Return energies and forces of the structures' calculators, if all have them."""
    labels = [atoms_labels(atoms) for atoms in structures]
    if not all("energy" in label and "forces" in label for label in labels):
        return None
    energies = [
        float(label["energy"]) / len(atoms) for label, atoms in zip(labels, structures)
    ]
    return Answers(
        np.array(energies), np.concatenate([label["forces"] for label in labels])
    )
