"""Good molecules of the generator's own, to train it on beside QM9.

    python examples/training/own_molecules.py symphony qm9/train runs/own -n 16000

What a generator grows is a little off at every atom, and it never saw such fragments
in training. So it is trained on molecules of its own that came out well: all atoms
stable, in one piece, no charges, no radicals. Simple ones are too frequent among them;
so many are kept that the numbers of heavy atoms and hydrogens are as frequent as in
QM9. The packed set `runs/own/train` is QM9, and what was kept a few times over. A
stopped run goes on.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any, cast

import numpy as np
from ase import Atoms
from ase.io import iread, write
from tqdm import tqdm

from equicalc.data.packed import PackedDataset
from equicalc.data.packing import write_packed
from equicalc.generators import Temperature, load_builder
from equicalc.generators.metrics import (
    lookup_stability,
    strictly_valid,
    structures_of_dataset,
    valid_molecule,
)

CHUNK = 1000


def good(atoms: Atoms) -> bool:
    """Whether a molecule may teach."""
    return bool(lookup_stability(atoms).all()) and strictly_valid(valid_molecule(atoms))


def composition(atoms: Atoms) -> tuple[int, int]:
    """Numbers of heavy atoms and of hydrogens."""
    n_hydrogen = int((atoms.numbers == 1).sum())
    return len(atoms) - n_hydrogen, n_hydrogen


def as_frequent(molecules: Sequence[Atoms], known: Sequence[Atoms]) -> list[Atoms]:
    """Keep some, so that every composition is as frequent as among the known.

    The fifth of them that is the rarest stays too rare, for the sake of numbers.
    """
    own, wanted = Counter(map(composition, molecules)), Counter(map(composition, known))
    ratio = np.array([wanted[c] / own[c] for c in map(composition, molecules)])
    chance = ratio / np.quantile(ratio[ratio > 0], 0.8)
    kept = np.random.default_rng(0).random(len(molecules)) < chance
    return [atoms for atoms, keep in zip(molecules, kept) if keep]


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


def record(atoms: Atoms) -> dict[str, Any]:
    """What the packed set stores."""
    return {"z": atoms.numbers, "pos": atoms.positions}


def main() -> None:
    parser = argparse.ArgumentParser(description="QM9 and own molecules.")
    parser.add_argument("model")
    parser.add_argument("qm9", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("-n", "--number", type=int, default=16_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--times", type=int, default=4, help="how often each is packed")
    parser.add_argument("--focus-temperature", type=float, default=1.0)
    parser.add_argument("--position-temperature", type=float, default=0.2)
    given = parser.parse_args()
    able = [atoms for atoms in grown(given) if good(atoms)]
    qm9 = PackedDataset(given.qm9)
    known = list(structures_of_dataset(qm9, len(qm9)))
    kept = as_frequent(able, known)
    print(f"{given.number} grown, {len(able)} good, {len(kept)} kept")
    everything = chain(known, chain.from_iterable(repeat(kept, given.times)))
    meta = {"source": "QM9 and molecules of the generator's own"}
    write_packed(given.output / "train", map(record, everything), meta)


if __name__ == "__main__":
    main()
