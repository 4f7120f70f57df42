"""GFN2-xTB energies of many molecules, each beside another one of its kind.

    python examples/lattice/beside.py runs/beside FILE... --molecules 30000

A crystal costs dozens of pairs of one molecule; here each molecule has two, so that the
predictor learns from many more molecules in the same time. The neighbour is the
molecule or its mirror image, turned at random; of many such poses one is drawn by odds
that fall with the energy of the shipped predictor. A fourth of them are farther away.
Only molecules that `train.py` learns; those of X23, and their isomers, are left out.
Parts are in the form of `interactions.py`; the same command goes on after any stop.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from interactions import save
from numpy.typing import NDArray
from pack import ELEMENTS, HEAVY, MOST_ATOMS, X23, draw
from rdkit.Chem import MolFromSmiles
from rdkit.Chem.rdMolDescriptors import CalcMolFormula
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation
from train import aggregate, held_out
from two_body import evaluated

from equicalc.calculators.named import named_calculator
from equicalc.crystals import LatticeEnergyPredictor
from equicalc.data.smiles import atoms_from_smiles
from equicalc.models import LatticeNetwork
from equicalc.models.lattice_graph import LatticeGraph
from equicalc.units import KJ_PER_MOL

logger = logging.getLogger("beside")

PART = 100  # molecules in a file
POSES = 2  # of a molecule
TRIES = 24  # poses, of which one is drawn
WARMTH = 4.0  # kJ/mol of the pair: how much the odds prefer bound ones
FAR = 0.25  # share of poses that are drawn without regard to the energy
NEAR_GAPS, FAR_GAPS = (1.6, 3.2), (3.0, 8.0)  # Angstrom between the nearest atoms
TESTED = {CalcMolFormula(MolFromSmiles(name)) for name in X23}


def main() -> None:
    """Write parts until all molecules have been drawn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("smiles", type=Path, nargs="+", help="files of SMILES")
    parser.add_argument("--molecules", type=int, default=30_000)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    chosen.output.mkdir(parents=True, exist_ok=True)
    names = draw(chosen.smiles, chosen.molecules)
    calculator = named_calculator("gfn2")
    network = cast(LatticeNetwork, LatticeEnergyPredictor.from_pretrained().model)
    for first in range(0, len(names), PART):
        file = chosen.output / f"{first:06d}.npz"
        if not file.exists():
            numbers = range(first, min(first + PART, len(names)))
            rows = [
                r for k in numbers for r in beside(names[k], k, calculator, network)
            ]
            if rows:
                save(file, rows)
            else:
                file.touch()


def beside(
    smiles: str, seed: int, calculator: Any, network: LatticeNetwork
) -> Iterator[dict[str, Any]]:
    """Pairs of a molecule, labelled; nothing of one that is not to be learned."""
    rng = np.random.default_rng(seed)
    try:
        molecule = atoms_from_smiles(smiles, seed)
    except ValueError as error:
        logger.warning("%s: %s", smiles, error)
        return
    if not wanted(molecule):
        return
    try:
        alone, _ = evaluated(molecule, calculator)
        for _ in range(POSES):
            pair = drawn(molecule, rng, network)
            energy, forces = evaluated(pair, calculator)
            yield {
                "z": pair.numbers,
                "pos": pair.positions,
                "owner": np.repeat([0, 1], len(molecule)),
                "energy": energy,
                "forces": forces,
                "apart": 2 * alone,
            }
    except CalculationFailed as error:
        logger.warning("%s: %s", smiles, error)


def wanted(molecule: Atoms) -> bool:
    """Whether the predictor is to learn a molecule."""
    heavy = int((molecule.numbers > 1).sum())
    if not HEAVY[0] <= heavy <= HEAVY[1] or len(molecule) > MOST_ATOMS:
        return False
    if set(molecule.numbers.tolist()) - ELEMENTS:
        return False
    if str(molecule.symbols.formula.convert("hill")) in TESTED:
        return False
    return not held_out(
        aggregate(molecule.numbers, molecule.positions, np.zeros(len(molecule), int))
    )


def drawn(molecule: Atoms, rng: np.random.Generator, network: LatticeNetwork) -> Atoms:
    """Put a neighbour beside a molecule, by odds or far away."""
    if rng.random() < FAR:
        return pairs(molecule, [pose(molecule, FAR_GAPS, rng)])[0]
    some = pairs(molecule, [pose(molecule, NEAR_GAPS, rng) for _ in range(TRIES)])
    owner = np.repeat([0, 1], len(molecule))
    graphs = [aggregate(one.numbers, one.positions, owner) for one in some]
    with torch.no_grad():
        energies = network(LatticeGraph.collate(graphs))["interaction"].double().numpy()
    odds = np.exp(-2 * (energies - energies.min()) / KJ_PER_MOL / WARMTH)
    return some[int(rng.choice(TRIES, p=odds / odds.sum()))]


def pairs(molecule: Atoms, places: Sequence[NDArray]) -> list[Atoms]:
    """The molecule with a neighbour at each place."""
    numbers = np.tile(molecule.numbers, 2)
    return [Atoms(numbers, np.concatenate([molecule.positions, p])) for p in places]


def pose(
    molecule: Atoms, gaps: tuple[float, float], rng: np.random.Generator
) -> NDArray:
    """Turn a copy or the mirror image, and move it away until the gap is as drawn."""
    centered = molecule.positions - molecule.positions.mean(axis=0)
    sign = rng.choice([-1.0, 1.0])
    turned = Rotation.from_quat(rng.normal(size=4)).apply(sign * centered)
    way = rng.normal(size=3)
    way /= np.linalg.norm(way)
    gap = rng.uniform(*gaps)
    near, far = 0.0, gap + 2 * np.linalg.norm(centered, axis=1).max()
    for _ in range(20):  # bisection
        middle = 0.5 * (near + far)
        close = cdist(centered, turned + middle * way).min() < gap
        near, far = (middle, far) if close else (near, middle)
    return turned + far * way + molecule.positions.mean(axis=0)


if __name__ == "__main__":
    main()
