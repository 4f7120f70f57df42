"""Random crystals of many molecules: what the lattice-energy predictor learns from.

    python examples/lattice/build.py runs/crystals FILE... --molecules 2000

One file per molecule; the same command goes on after any stop. Besides the packings
themselves there are copies of each, with the cell scaled and the molecules moved.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write
from scipy.spatial.transform import Rotation

from equicalc.crystals import MolecularCrystal, random_crystals
from equicalc.data.smiles import atoms_from_smiles, numbered_smiles

logger = logging.getLogger("build")

ELEMENTS = {1, 6, 7, 8, 9, 16, 17}
GROUPS = (1, 2, 4, 14, 19)
SHARES = (0.4, 0.06, 0.2, 0.14, 0.2)
HEAVY = (3, 10)
PACKINGS, COPIES = 6, 4  # of a molecule in a group; of each packing
SCALES = (0.97, 1.05)  # of the lengths of the cell
TURN, SHIFT = 0.1, 0.1  # radians, Angstrom
CLOSEST = 0.7  # in sums of van der Waals radii


def main() -> None:
    """Build the crystals of each molecule that has none yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("smiles", type=Path, nargs="+", help="files of SMILES")
    parser.add_argument("--molecules", type=int, default=2000)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    chosen.output.mkdir(parents=True, exist_ok=True)
    for index, smiles in enumerate(draw(chosen.smiles, chosen.molecules)):
        file = chosen.output / f"{index:05d}.extxyz"
        if file.exists():
            continue
        try:
            crystals = packings(smiles, seed=index)
        except ValueError as error:
            logger.warning("%s: %s", smiles, error)
            crystals = []
        part = file.with_suffix(".part")
        write(part, [as_frame(one, smiles) for one in crystals], format="extxyz")
        part.replace(file)


def draw(files: list[Path], n: int) -> list[str]:
    """Draw molecules at random, as many from each file."""
    rng = np.random.default_rng(0)
    drawn: dict[str, None] = {}
    for file in files:
        everything = [smiles for _, smiles in numbered_smiles(file)]
        some = rng.permutation(len(everything))[: n // len(files)]
        drawn |= dict.fromkeys(everything[index] for index in some)
    names = list(drawn)
    return [names[index] for index in rng.permutation(len(names))]


def packings(smiles: str, seed: int) -> list[MolecularCrystal]:
    """Pack a molecule in one group, and move what was packed."""
    molecule = atoms_from_smiles(smiles, seed)
    heavy = int((molecule.numbers > 1).sum())
    if not HEAVY[0] <= heavy <= HEAVY[1] or set(molecule.numbers.tolist()) - ELEMENTS:
        return []
    rng = np.random.default_rng(seed)
    group = int(rng.choice(GROUPS, p=SHARES))
    packed = random_crystals(molecule, group, PACKINGS, seed)
    return [
        one
        for crystal in packed
        for one in (crystal, *(moved(crystal, rng) for _ in range(COPIES)))
        if one.contact > CLOSEST
    ]


def moved(crystal: MolecularCrystal, rng: np.random.Generator) -> MolecularCrystal:
    """Scale the cell, turn and shift the molecule; the group stays."""
    scale = rng.uniform(*SCALES)
    molecule = crystal.molecules[0].copy()
    center = molecule.positions.mean(axis=0)
    turn = Rotation.from_rotvec(TURN * rng.normal(size=3))
    shift = SHIFT * rng.normal(size=3)
    molecule.positions = turn.apply(molecule.positions - center)
    molecule.positions += scale * center + shift
    info = {"copy": True}
    return replace(crystal, cell=scale * crystal.cell, molecules=(molecule,), info=info)


def as_frame(crystal: MolecularCrystal, smiles: str) -> Atoms:
    """All atoms of the cell, and where they are from."""
    atoms = crystal.to_atoms()
    group, copy = crystal.spacegroup, "copy" in crystal.info
    atoms.info = {"smiles": smiles, "spacegroup": group, "copy": copy}
    return atoms


if __name__ == "__main__":
    main()
