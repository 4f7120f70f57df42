"""GFN2-xTB energies of pairs of molecules on their way to a strongly bound minimum.

    python examples/lattice/bonded.py runs/bonded FILE... -n 2000

In random packings two molecules rarely meet like the pairs of a carboxylic acid or an
amide, as they do in most real crystals. Here a hydrogen of N or O is put in front of
an N or O of the other molecule, which is turned at random many times; the shipped
predictor finds the best of these, and GFN2-xTB relaxes it, so that bonds are as long
as in real crystals. Structures on the way are labelled as `interactions.py` does. The
same command goes on after any stop. The molecules of X23 are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.optimize import FIRE
from interactions import labelled, save
from numpy.typing import NDArray
from pack import ELEMENTS, X23, draw
from rdkit.Chem import CanonSmiles
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation
from train import aggregate

from equicalc.calculators.named import named_calculator
from equicalc.crystals import LatticeEnergyPredictor
from equicalc.data.smiles import atoms_from_smiles
from equicalc.models import LatticeNetwork
from equicalc.models.lattice_graph import LatticeGraph

PART = 20  # pairs in a file
PATTERN = "[N,O;!H0]"
SAME = 0.7  # share of pairs of one molecule
TRIES = (50, 400)  # orientations, the best of which is relaxed
REACH, CLOSEST = 1.85, 1.55  # Angstrom: of the first bond, of any other two atoms
BOND = 1.25  # Angstrom, from N and O to their hydrogens
STEPS = (6, 20, 45)  # of the relaxation, that are kept
LARGEST = 18  # atoms of a molecule


def main() -> None:
    """Write parts until there are enough pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("smiles", type=Path, nargs="+", help="files of SMILES")
    parser.add_argument("--molecules", type=int, default=2000)
    parser.add_argument("--pattern", default=PATTERN, help="SMARTS")
    parser.add_argument("-n", type=int, default=2000)
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    names = draw(chosen.smiles, chosen.molecules, chosen.pattern)
    names = [name for name in names if CanonSmiles(name) not in X23]
    calculator = named_calculator("gfn2")
    network = cast(LatticeNetwork, LatticeEnergyPredictor.from_pretrained().model)
    for first in range(0, chosen.n, PART):
        file = chosen.output / f"{first:06d}.npz"
        if not file.exists():
            numbers = range(first, min(first + PART, chosen.n))
            rows = [r for k in numbers for r in relaxed(names, k, calculator, network)]
            save(file, rows)


def relaxed(
    names: Sequence[str], seed: int, calculator: Any, network: LatticeNetwork
) -> Iterator[dict[str, Any]]:
    """Structures of a pair on its way, labelled; nothing of what cannot be made."""
    rng = np.random.default_rng(seed)
    first, other = (int(k) for k in rng.choice(len(names), 2))
    second = first if rng.random() < SAME else other
    try:
        a, b = (atoms_from_smiles(names[k], seed) for k in (first, second))
        if any(len(one) > LARGEST or set(one.numbers) - ELEMENTS for one in (a, b)):
            return
        places = [p for _ in range(int(rng.choice(TRIES))) for p in facing(a, b, rng)]
        if not places:
            return
        pair = best(a, b, places, network)
        pair.calc = calculator
        optimizer = FIRE(pair, logfile=None)  # pyright: ignore[reportArgumentType]
        for steps in STEPS:
            found = optimizer.run(fmax=0.02, steps=steps - optimizer.nsteps)
            row = labelled(Atoms(pair.numbers, pair.positions), calculator)
            if row and row["owner"].max() == 1:  # no proton has moved
                yield row
            if found:
                return
    except (ValueError, CalculationFailed):
        return


def facing(a: Atoms, b: Atoms, rng: np.random.Generator) -> Iterator[NDArray]:
    """Place b before a hydrogen of a that N or O has; nothing if it does not fit."""
    polar = np.isin(a.numbers, (7, 8))
    near = np.where(polar, a.get_all_distances(), np.inf)  # (n, n) to those of columns
    donors = np.flatnonzero((a.numbers == 1) & (near.min(axis=1) < BOND))
    acceptors = np.flatnonzero(np.isin(b.numbers, (7, 8)))
    if not len(donors) or not len(acceptors):
        return
    hydrogen, acceptor = rng.choice(donors), rng.choice(acceptors)
    bond = a.positions[hydrogen] - a.positions[near[hydrogen].argmin()]
    goal = a.positions[hydrogen] + REACH * bond / np.linalg.norm(bond)
    turn = Rotation.from_quat(rng.normal(size=4))
    place = turn.apply(b.positions - b.positions[acceptor]) + goal
    if cdist(a.positions, place).min() > CLOSEST:
        yield place


def best(
    a: Atoms, b: Atoms, places: Sequence[NDArray], network: LatticeNetwork
) -> Atoms:
    """The pair of lowest energy by the predictor."""
    numbers = np.concatenate([a.numbers, b.numbers])
    owner = np.repeat([0, 1], [len(a), len(b)])
    graphs = [
        aggregate(numbers, np.concatenate([a.positions, place]), owner)
        for place in places
    ]
    with torch.no_grad():
        energies = network(LatticeGraph.collate(graphs))["interaction"]
    place = places[int(energies.argmin())]
    return Atoms(numbers, np.concatenate([a.positions, place]))


if __name__ == "__main__":
    main()
