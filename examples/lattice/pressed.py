"""GFN2-xTB energies of pairs of molecules pushed together or drawn apart.

    python examples/lattice/pressed.py runs/pressed runs/bonded runs/beside -n 20000

Pairs near a minimum say little about the wall behind it: a predictor that learned from
these alone let crystals with hydrogen bonds collapse when they were relaxed with it.
Here one molecule of a known pair is moved along the line between the two nearest atoms.
Pairs are those of other folders, in random order, one copy of each in turn; parts are
in the form of `interactions.py`. The same command goes on after any stop.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from interactions import save
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from equicalc.calculators.named import named_calculator

PART = 200  # pairs in a file
SHIFTS = (-0.6, 0.6)  # Angstrom
CLOSEST = 1.2  # Angstrom between two molecules

Pair = dict[str, Any]


def main() -> None:
    """Write parts until there are enough pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("known", type=Path, nargs="+", help="folders of pairs")
    parser.add_argument("-n", type=int, default=20_000)
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    calculator = named_calculator("gfn2")
    pairs = [pair for folder in chosen.known for pair in pairs_of(folder)]
    numbers = in_turn(len(pairs))
    for first in range(0, chosen.n, PART):
        part = [next(numbers) for _ in range(PART)]
        file = chosen.output / f"{first:06d}.npz"
        if not file.exists():
            rows = (moved(pairs[k], seed, calculator) for k, seed in part)
            save(file, [row for row in rows if row])


def in_turn(n: int) -> Iterator[tuple[int, Sequence[int]]]:
    """Numbers of pairs in random order, again and again, each time with a new seed."""
    for turn in count():
        for k in np.random.default_rng(turn).permutation(n).tolist():
            yield k, [turn, k]


def pairs_of(folder: Path) -> Iterator[Pair]:
    """Aggregates of two molecules."""
    for file in sorted(folder.glob("*.npz")):
        if not file.stat().st_size:
            continue
        columns = dict(np.load(file))
        ends = np.cumsum(columns["n_atoms"])
        for row, (end, n) in enumerate(zip(ends, columns["n_atoms"])):
            atoms = slice(end - n, end)
            pair = {name: columns[name][atoms] for name in ("z", "pos", "owner")}
            if pair["owner"].max() == 1:
                yield pair | {"apart": columns["apart"][row]}


def moved(pair: Pair, seed: Sequence[int], calculator: Any) -> Pair:
    """Move one molecule and label the pair; nothing if it comes too near."""
    second = pair["owner"] == 1
    a, b = pair["pos"][~second], pair["pos"][second]
    new = b + np.random.default_rng(seed).uniform(*SHIFTS) * direction(a, b)
    if cdist(a, new).min() < CLOSEST:
        return {}
    pos = np.array(pair["pos"], dtype=np.float64)
    pos[second] = new
    atoms = Atoms(pair["z"], positions=pos)
    atoms.calc = calculator
    try:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    except CalculationFailed:
        return {}
    return pair | {"pos": pos, "energy": energy, "forces": forces}


def direction(a: NDArray, b: NDArray) -> NDArray:
    """Unit vector between the nearest atoms of two molecules."""
    distances = cdist(a, b)
    i, j = np.unravel_index(distances.argmin(), distances.shape)
    return (b[j] - a[i]) / distances[i, j]


if __name__ == "__main__":
    main()
