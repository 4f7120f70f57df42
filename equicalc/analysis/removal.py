"""What a network says without an irrep, beside what it says with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from equicalc.analysis.measures import MEV
from equicalc.data.atoms import atoms_labels
from equicalc.models import evaluate

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray
    from torch_geometric.data import Data

    from equicalc.embedding import Embedder

#: By name: of a potential ``energy`` per atom (n,), meV, and ``force`` (n_atoms, 3),
#: meV/Angstrom; of a property network ``value`` (n, n_targets), in the targets' units.
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

        Of forces, which lean on more than energies do, or else of values.
        """
        alone, scalars_only = self.change(name), self.change(*self.tensors)
        judged = "force" if "force" in alone else "value"
        whole = scalars_only.get(judged, 0.0)
        return alone[judged] / whole if whole > 0 else np.nan


def _distances(a: Answers, b: Answers) -> dict[str, float]:
    return {name: float(np.abs(a[name] - b[name]).mean()) for name in a if name in b}


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
    if "energies" in out:
        found = evaluate(embedder.model, graph)
        per_atom = found["energy"] / graph["ptr"].diff()
        return {
            "energy": MEV * per_atom.cpu().numpy(),
            "force": MEV * found["forces"].cpu().numpy(),
        }
    return {"value": out["values"].cpu().numpy()} if "values" in out else {}


def _labels(embedder: Embedder, structures: Sequence[Atoms]) -> Answers:
    """Return what all structures are labelled with: results, or targets in info."""
    found = [atoms_labels(atoms) for atoms in structures]
    labels: Answers = {}
    if all("energy" in label for label in found):
        energies = [float(x["energy"]) / len(a) for x, a in zip(found, structures)]
        labels["energy"] = MEV * np.array(energies)
    if all("forces" in label for label in found):
        labels["force"] = MEV * np.concatenate([label["forces"] for label in found])
    targets = getattr(embedder.model.config, "targets", ())
    if targets and all(name in a.info for name in targets for a in structures):
        rows = [[float(a.info[name]) for name in targets] for a in structures]
        labels["value"] = np.array(rows)
    return labels
