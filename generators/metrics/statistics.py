"""What a set of molecules is made of, and how far that is from a reference."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from equicalc.data.arrays import read_npz
from equicalc.data.damage import naming

from .bispectrum import bispectra
from .bonding import bond_lengths, local_environments, ring_sizes
from .divergence import jensen_shannon, maximum_mean_discrepancy

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["Statistics", "compare", "qm9_statistics"]

#: Kinds of bonds and of environments that are compared: the commonest ones. The
#: publication has ten of these eleven environments, without ethers.
N_BONDS, N_ENVIRONMENTS = 10, 11
#: Fewer samples than these give no discrepancy.
FEWEST = 10
SHIPPED = Path(__file__).with_name("qm9_statistics.npz")


@dataclass
class Statistics:
    """Counts and samples of valid molecules.

    Attributes
    ----------
    n_molecules
        How many there were.
    counts
        ``atoms`` by element, ``environments`` of atoms with two or more neighbours,
        ``rings`` by size, ``sizes`` (atoms of a molecule), each by name.
    bonds
        Lengths (n,) by kind of bond, Angstrom.
    bispectra
        (n, 14) by kind of environment, see `bispectra`.
    """

    n_molecules: int
    counts: dict[str, dict[str, int]]
    bonds: dict[str, NDArray[np.float64]] = field(repr=False)
    bispectra: dict[str, NDArray[np.float64]] = field(repr=False)

    @classmethod
    def of(cls, molecules: Iterable[Mol]) -> Self:
        """Gather the statistics of valid molecules, at least one."""
        counts = {name: Counter() for name in ("atoms", "environments", "rings")}
        counts["sizes"] = Counter()
        bonds, around = defaultdict(list), defaultdict(list)
        n = 0
        for molecule in molecules:
            n += 1
            counts["sizes"][str(molecule.GetNumAtoms())] += 1
            counts["atoms"].update(atom.GetSymbol() for atom in molecule.GetAtoms())
            counts["rings"].update(map(str, ring_sizes(molecule)))
            for kind, length in bond_lengths(molecule):
                bonds[kind].append(length)
            for kind, vectors in local_environments(molecule):
                around[kind].append(vectors)
        if not n:
            raise ValueError("there are no valid molecules to gather statistics of")
        counts["environments"].update({k: len(v) for k, v in around.items()})
        return cls(
            n,
            {name: dict(counter.most_common()) for name, counter in counts.items()},
            {kind: np.array(lengths) for kind, lengths in bonds.items()},
            {kind: bispectra(np.array(vectors)) for kind, vectors in around.items()},
        )

    def commonest(self) -> tuple[list[str], list[str]]:
        """Return the commonest kinds of bonds and of environments."""

        def top(samples: dict[str, NDArray[np.float64]], n: int) -> list[str]:
            return sorted(samples, key=lambda kind: -len(samples[kind]))[:n]

        return top(self.bonds, N_BONDS), top(self.bispectra, N_ENVIRONMENTS)

    def save(self, path: str | Path, n_samples: int = 2000) -> None:
        """Write counts, and samples of the commonest kinds, to an ``.npz``.

        Parameters
        ----------
        path
            The file.
        n_samples
            Samples kept of every kind, drawn at random.
        """
        rng = np.random.default_rng(0)
        arrays: dict[str, Any] = {}
        for group, kinds in zip(("bonds", "bispectra"), self.commonest()):
            samples = getattr(self, group)
            for kind in kinds:
                chosen = rng.permutation(len(samples[kind]))[:n_samples]
                arrays[f"{group}/{kind}"] = samples[kind][chosen].astype(np.float32)
        head = {"n_molecules": self.n_molecules, "counts": self.counts}
        with Path(path).open("wb") as file:
            np.savez_compressed(file, head=np.array(json.dumps(head)), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; the order of the kinds, commonest first, is kept.

        Raises
        ------
        ValueError
            If the file is of another kind.
        """
        samples = read_npz(path)
        with naming(path, "holds no statistics that Statistics.save wrote"):
            head = json.loads(str(samples.pop("head")))
            groups: dict[str, dict[str, NDArray[np.float64]]]
            groups = {"bonds": {}, "bispectra": {}}
            for name, values in samples.items():
                group, _, kind = name.partition("/")
                groups[group][kind] = values.astype(float)
            return cls(head["n_molecules"], head["counts"], **groups)


def compare(found: Statistics, reference: Statistics) -> dict[str, Any]:
    """Return how far generated molecules are from a reference.

    Parameters
    ----------
    found
        Of the generated ones.
    reference
        Of the training set.

    Returns
    -------
    dict
        ``jsd``: Jensen-Shannon divergences in nats of the counts, and, mean over the
        commonest kinds, of histograms of bond lengths with bins of 0.01 Angstrom;
        ``bond_mmd`` and ``bispectrum_mmd``: see `maximum_mean_discrepancy`, by kind;
        None where there are fewer than 10 samples.
    """
    kinds, environments = reference.commonest()
    jsd = {
        name: _divergence(counts, reference.counts[name])
        for name, counts in found.counts.items()
    }
    jsd["bond_lengths"] = _length_divergence(found.bonds, reference.bonds, kinds)
    return {
        "jsd": jsd,
        "bond_mmd": _discrepancies(found.bonds, reference.bonds, kinds),
        "bispectrum_mmd": _discrepancies(
            found.bispectra, reference.bispectra, environments
        ),
    }


@cache
def qm9_statistics() -> Statistics:
    """Return the shipped statistics of 20,000 molecules of QM9's training part."""
    return Statistics.load(SHIPPED)


def _divergence(p: dict[str, Any], q: dict[str, Any]) -> float | None:
    return jensen_shannon(p, q) if p and q else None


def _length_divergence(
    found: dict[str, NDArray[np.float64]],
    reference: dict[str, NDArray[np.float64]],
    kinds: list[str],
) -> float | None:
    def histogram(lengths: NDArray[np.float64]) -> dict[str, int]:
        return Counter(map(str, np.rint(100 * lengths).astype(int)))

    shared = [kind for kind in kinds if len(found.get(kind, ())) >= FEWEST]
    values = [
        jensen_shannon(histogram(found[kind]), histogram(reference[kind]))
        for kind in shared
    ]
    return float(np.mean(values)) if values else None


def _discrepancies(
    found: dict[str, NDArray[np.float64]],
    reference: dict[str, NDArray[np.float64]],
    kinds: list[str],
) -> dict[str, float | None]:
    def distance(kind: str) -> float | None:
        x, y = found.get(kind, np.zeros(0)), reference[kind]
        if min(len(x), len(y)) < FEWEST:
            return None
        return maximum_mean_discrepancy(x.reshape(len(x), -1), y.reshape(len(y), -1))

    return {kind: distance(kind) for kind in kinds}
