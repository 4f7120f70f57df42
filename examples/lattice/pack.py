"""Random crystals of many molecules: what the lattice-energy predictor learns from.

    python examples/lattice/pack.py runs/crystals FILE... --molecules 2000

One file per molecule; the same command goes on after any stop. Molecules with charges
of MMFF94 are packed by exp-6 and Coulomb energies, so that hydrogen bonds have the
lengths of real crystals; the others by Lennard-Jones. Besides the packings themselves
there are copies of each, with the cell scaled and the molecules moved. Space groups are
drawn about as often as nature does. The molecules of the X23 benchmark are left out.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write
from rdkit.Chem import CanonSmiles, MolFromSmarts, MolFromSmiles
from scipy.spatial.transform import Rotation

from equicalc.crystals import ExpSix, MolecularCrystal, random_crystals
from equicalc.data.smiles import atoms_from_smiles, mmff_charges, numbered_smiles

logger = logging.getLogger("build")

ELEMENTS = {1, 6, 7, 8, 9, 16, 17}
PACKS_AS = {9: 7, 16: 6}  # exp-6 has no parameters for fluorine and sulphur
GROUPS = (14, 2, 19, 4, 15, 61, 33, 1)
SHARES = (0.36, 0.24, 0.14, 0.08, 0.06, 0.05, 0.04, 0.03)
HEAVY, MOST_ATOMS = (2, 11), 24
PACKINGS, COPIES = 4, 1  # of a molecule in a group; of each packing
SCALES = (0.96, 1.05)  # of the lengths of the cell
TURN, SHIFT = 0.1, 0.1  # radians, Angstrom
CLOSEST = 0.58  # in sums of van der Waals radii; strong hydrogen bonds are above
X23 = [
    "O=C1CCC(=O)CC1",
    "CC(=O)O",
    "C1C2CC3CC1CC(C2)C3",
    "N",
    "c1ccc2cc3ccccc3cc2c1",
    "c1ccccc1",
    "O=C=O",
    "N#CN",
    "Nc1cc[nH]c(=O)n1",
    "CCOC(N)=O",
    "NC=O",
    "c1c[nH]cn1",
    "c1ccc2ccccc2c1",
    "O=C(O)C(=O)O",
    "c1cnccn1",
    "c1cn[nH]c1",
    "c1ncncn1",
    "C1OCOCO1",
    "O=c1cc[nH]c(=O)[nH]1",
    "NC(N)=O",
    "C1N2CN3CN1CN(C2)C3",
    "O=C(O)CCC(=O)O",
]


def main() -> None:
    """Build the crystals of each molecule that has none yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("smiles", type=Path, nargs="+", help="files of SMILES")
    parser.add_argument("--molecules", type=int, default=2000)
    parser.add_argument("--pattern", help="SMARTS; only molecules that have it")
    parser.add_argument("--tries", type=int, default=1, help="the best of so many")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    chosen.output.mkdir(parents=True, exist_ok=True)
    drawn = draw(chosen.smiles, chosen.molecules, chosen.pattern)
    for index, smiles in enumerate(drawn):
        file = chosen.output / f"{index:05d}.extxyz"
        if file.exists():
            continue
        try:
            crystals = packings(smiles, index, chosen.tries)
        except ValueError as error:
            logger.warning("%s: %s", smiles, error)
            crystals = []
        part = file.with_suffix(".part")
        write(part, [as_frame(one, smiles) for one in crystals], format="extxyz")
        part.replace(file)


def draw(files: list[Path], n: int, pattern: str | None = None) -> list[str]:
    """Draw molecules at random, as many from each file."""
    rng = np.random.default_rng(0)
    drawn: dict[str, None] = {}
    for file in files:
        everything = [smiles for _, smiles in numbered_smiles(file)]
        if pattern:
            everything = [smiles for smiles in everything if has(smiles, pattern)]
        some = rng.permutation(len(everything))[: n // len(files)]
        drawn |= dict.fromkeys(everything[index] for index in some)
    names = list(drawn)
    return [names[index] for index in rng.permutation(len(names))]


def has(smiles: str, pattern: str) -> bool:
    """Whether a molecule of few heavy atoms has a group."""
    molecule = MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumHeavyAtoms() > HEAVY[1]:
        return False
    return molecule.HasSubstructMatch(MolFromSmarts(pattern))


def packings(smiles: str, seed: int, tries: int = 1) -> list[MolecularCrystal]:
    """Pack a molecule in one group, and move what was packed."""
    molecule = atoms_from_smiles(smiles, seed)
    heavy = int((molecule.numbers > 1).sum())
    if not HEAVY[0] <= heavy <= HEAVY[1] or len(molecule) > MOST_ATOMS:
        return []
    if set(molecule.numbers.tolist()) - ELEMENTS or CanonSmiles(smiles) in X23:
        return []
    rng = np.random.default_rng(seed)
    group = int(rng.choice(GROUPS, p=SHARES))
    return [
        one
        for crystal in packed(molecule, group, seed, tries)[:PACKINGS]
        for one in (crystal, *(moved(crystal, rng) for _ in range(COPIES)))
        if one.contact > CLOSEST
    ]


def packed(
    molecule: Atoms, group: int, seed: int, tries: int
) -> list[MolecularCrystal]:
    """Relax random crystals, with hydrogen bonds if the molecule has charges.

    Those of lowest energy come first.
    """
    try:
        charges = mmff_charges(molecule)
    except ValueError:
        return random_crystals(molecule, group, tries * PACKINGS, seed)
    typed = molecule.copy()
    typed.numbers = [PACKS_AS.get(z, z) for z in molecule.numbers.tolist()]
    typed.set_initial_charges(charges)
    found = random_crystals(
        typed,
        group,
        tries * PACKINGS,
        seed,
        potential=ExpSix(),
        min_contact=CLOSEST,
    )
    plain = [Atoms(molecule.numbers, one.molecules[0].positions) for one in found]
    return [replace(one, molecules=(own,)) for one, own in zip(found, plain)]


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
