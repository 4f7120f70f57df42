"""Good molecules of the generator's own, to train it on beside QM9.

    python examples/training/own_molecules.py symphony qm9/train runs/own -n 10000

What a generator grows is a little off at every atom, and it never saw such fragments
in training. So it is trained on molecules of its own that came out well: all atoms
stable, in one piece, no charges, no radicals, not larger than QM9's, no two the same.

It also has habits: chains are too frequent among what it grows, fused rings too rare. A
classifier by environments, rings and sizes tells the odds that a molecule is QM9's, not
the generator's, and its lessons are drawn by them: those that it has had (QM9, or the
set of an earlier round, `--lessons`), and its own molecules, which are first made as
frequent as the lessons are. The packed set `runs/own/train` is what was drawn. A
stopped run goes on.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
from ase import Atoms
from ase.io import iread, write
from numpy.typing import NDArray
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from tqdm import tqdm

from equicalc.data.packed import PackedDataset
from equicalc.data.packing import write_packed
from equicalc.generators import Temperature, load_builder
from equicalc.generators.metrics import (
    lookup_molecule,
    lookup_stability,
    strictly_valid,
    structures_of_dataset,
    valid_molecule,
)
from equicalc.generators.metrics.bonding import ring_sizes
from equicalc.generators.metrics.validity import plain_smiles

CHUNK = 1000
LARGEST = 6.0
"""Odds are at most this, and at least its inverse."""

Habits = Sequence[Mapping[str, int]]


def good(atoms: Atoms) -> bool:
    """Whether a molecule may teach."""
    return bool(lookup_stability(atoms).all()) and strictly_valid(valid_molecule(atoms))


def n_heavy(atoms: Atoms) -> int:
    """Count the heavy atoms."""
    return int((atoms.numbers > 1).sum())


def habits(atoms: Atoms) -> Mapping[str, int]:
    """Count what a molecule is made of; nothing if it is none."""
    molecule = lookup_molecule(atoms)
    if molecule is None:
        return {}
    counts = Counter(
        atom.GetSymbol()
        + "".join(sorted(other.GetSymbol() for other in atom.GetNeighbors()))
        for atom in molecule.GetAtoms()
        if atom.GetAtomicNum() > 1
    )
    rings = ring_sizes(molecule)
    counts.update(f"ring of {size}" for size in rings)
    # the numbers themselves, as classes: their odds need not grow evenly
    counts.update([f"{len(rings)} rings", f"{n_heavy(atoms)} heavy atoms"])
    return counts


def odds(known: Habits, grown: Habits) -> Callable[[Habits], NDArray[np.floating[Any]]]:
    """Learn the odds that molecules are of the first kind, not of the second."""
    classifier = make_pipeline(
        DictVectorizer(),
        MaxAbsScaler(),
        LogisticRegression(C=10, class_weight="balanced", max_iter=1000),
    ).fit([*known, *grown], np.arange(len(known) + len(grown)) < len(known))

    def found(kinds: Habits) -> NDArray[np.floating[Any]]:
        ratio = np.exp(classifier.decision_function(kinds))
        return ratio.clip(1 / LARGEST, LARGEST)

    return found


def structures(folder: Path) -> list[Atoms]:
    """Read a packed set."""
    dataset = PackedDataset(folder)
    return list(structures_of_dataset(dataset, len(dataset)))


def grown(given: argparse.Namespace) -> Iterator[Atoms]:
    """Molecules of the generator, chunk by chunk; chunks made before are read."""
    builder = load_builder(given.model)
    temperature = Temperature(given.focus_temperature, given.position_temperature)
    given.output.mkdir(parents=True, exist_ok=True)
    for first in tqdm(range(0, given.number, CHUNK), unit_scale=CHUNK, unit="mol"):
        file = given.output / f"{first:06d}.extxyz"
        if not file.is_file():
            molecules = builder.generate(
                CHUNK, given.seed, first=first, temperature=temperature
            )
            write(file.with_suffix(".partial"), molecules, format="extxyz")
            file.with_suffix(".partial").rename(file)
        for atoms in iread(file):
            yield cast(Atoms, atoms)


def draw(
    molecules: Sequence[Atoms], weights: NDArray[np.floating[Any]], n: int, seed: int
) -> Iterator[Atoms]:
    """Draw so many, with replacement."""
    rng = np.random.default_rng(seed)
    for k in rng.choice(len(molecules), n, p=weights / weights.sum()):
        yield molecules[k]


def record(atoms: Atoms) -> dict[str, Any]:
    """What the packed set stores."""
    return {"z": atoms.numbers, "pos": atoms.positions}


def arguments() -> argparse.ArgumentParser:
    """Say what is asked for."""
    parser = argparse.ArgumentParser(description="QM9 and own molecules.")
    parser.add_argument("model")
    parser.add_argument("qm9", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("-n", "--number", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lessons", type=Path, help="packed set of an earlier round")
    parser.add_argument("--share", type=float, default=0.15, help="of own molecules")
    usual = Temperature()  # those that the generator is used with
    parser.add_argument("--focus-temperature", type=float, default=usual.focus)
    parser.add_argument("--position-temperature", type=float, default=usual.position)
    return parser


def main() -> None:
    parser = arguments()
    given = parser.parse_args()
    own, qm9 = list(grown(given)), structures(given.qm9)
    largest = max(map(n_heavy, qm9))
    chosen = {
        plain_smiles(molecule): atoms
        for atoms in own
        if n_heavy(atoms) <= largest
        and good(atoms)
        and (molecule := valid_molecule(atoms)) is not None
    }
    if not chosen:
        parser.error(f"none of {len(own)} molecules came out well")
    print(f"{len(own)} grown, {len(chosen)} of them good and different")
    its, known = list(map(habits, own)), list(map(habits, qm9))
    wanted = odds(known, its)
    lessons, had = qm9, known
    if given.lessons is not None:
        lessons = [a for a in structures(given.lessons) if n_heavy(a) <= largest]
        had = list(map(habits, lessons))
    new = list(map(habits, chosen.values()))
    drawn = chain(
        draw(lessons, wanted(had), len(lessons), given.seed),
        draw(
            list(chosen.values()),
            wanted(new) * odds(had, its)(new),
            int(given.share * len(lessons)),
            given.seed,
        ),
    )
    meta = {"source": "QM9 and molecules of the generator's own"}
    write_packed(given.output / "train", map(record, drawn), meta)


if __name__ == "__main__":
    main()
