"""What a network says without an irrep, beside what it says with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from equicalc.analysis.measures import MEV, named_values
from equicalc.data.atoms import atoms_labels
from equicalc.models import evaluate

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray
    from torch_geometric.data import Data

    from equicalc.embedding import Embedder

#: By name: ``energy`` per atom (n,), meV, and ``force`` (n_atoms, 3), meV/Angstrom, of
#: a network with energies; every other target of a property network, in its unit.
Answers = dict[str, "NDArray[np.floating]"]


@dataclass(frozen=True)
class Removals:
    """Answers of a network with everything, and without irreps.

    Attributes
    ----------
    answers
        What was removed, to answers; these are empty for a network without any.
    labels
        What the answers should be, as far as that is known.
    tensors
        The irreps that are no scalars.
    """

    answers: dict[tuple[str, ...], Answers]
    labels: Answers
    tensors: tuple[str, ...]

    @classmethod
    def measured(cls, embedder: Embedder, structures: Sequence[Atoms]) -> Removals:
        """Evaluate the network without each irrep, and with scalars alone."""
        names = [str(ir) for _, ir in embedder.irreps]
        tensors = tuple(str(ir) for _, ir in embedder.irreps if ir.l > 0)
        sets = dict.fromkeys([(), *((name,) for name in names), tensors])
        return cls(
            {removed: _answers(embedder, structures, removed) for removed in sets},
            _labels(embedder, structures),
            tensors,
        )

    def change(self, *removed: str) -> dict[str, float]:
        """Return mean absolute changes by name of the answer."""
        return _distances(self.answers[removed], self.answers[()])

    def error(self, *removed: str) -> dict[str, float]:
        """Return mean absolute errors by name of the answer, where it is labelled."""
        return _distances(self.answers[removed], self.labels)

    def use(self, name: str) -> float:
        """Return the change as a share of that without all tensors; NaN if undefined.

        Of forces, which lean on more than energies do, and of other targets: the
        largest.
        """
        alone, scalars_only = self.change(name), self.change(*self.tensors)
        judged = [of for of, whole in scalars_only.items() if of != "energy" and whole]
        return max((alone[of] / scalars_only[of] for of in judged), default=np.nan)


def _distances(a: Answers, b: Answers) -> dict[str, float]:
    return {
        name: float(np.abs(x - b[name]).mean())
        for name, x in a.items()
        if name in b and x.shape == b[name].shape
    }


def _answers(
    embedder: Embedder, structures: Sequence[Atoms], removed: tuple[str, ...]
) -> Answers:
    factors = dict.fromkeys(removed, 0.0)
    with embedder.taps.scaled(factors) if removed else nullcontext():
        batches = [_of_batch(embedder, graph) for graph in embedder.graphs(structures)]
    return {
        name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]
    }


def _of_batch(embedder: Embedder, graph: Data) -> Answers:
    with torch.no_grad():
        out = embedder.taps.run(graph)
    if not isinstance(out, Mapping):
        return {}
    answers = {
        name: value.cpu().numpy()
        for name, value in named_values(out, targets_of(embedder)).items()
    }
    if "energies" in out:
        found = evaluate(embedder.model, graph)
        per_atom = found["energy"] / graph["ptr"].diff()
        answers["energy"] = MEV * per_atom.cpu().numpy()
        answers["force"] = MEV * found["forces"].cpu().numpy()
    return answers


def targets_of(embedder: Embedder) -> tuple[str, ...]:
    """Names of what a property network predicts."""
    return getattr(embedder.model.config, "targets", ())


def _labels(embedder: Embedder, structures: Sequence[Atoms]) -> Answers:
    """Return what all structures are labelled with: results, or targets in info."""
    found = [atoms_labels(atoms) for atoms in structures]
    labels: Answers = {}
    if all("energy" in label for label in found):
        energies = [float(x["energy"]) / len(a) for x, a in zip(found, structures)]
        labels["energy"] = MEV * np.array(energies)
    if all("forces" in label for label in found):
        labels["force"] = MEV * np.concatenate([label["forces"] for label in found])
    known = {
        name: np.array([atoms.info[name] for atoms in structures], dtype=np.float64)
        for name in targets_of(embedder)
        if all(name in atoms.info for atoms in structures)
    }
    if "U0" in known:
        energies = known.pop("U0") / [len(atoms) for atoms in structures]
        labels.setdefault("energy", MEV * energies)
    return labels | known
