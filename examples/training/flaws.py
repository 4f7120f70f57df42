"""What is wrong with a molecule that was grown, and the step that made it so.

A step is the index of the heavy atom that it placed: atoms come in the order in which
they grew, hydrogens last.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom

from equicalc.generators.metrics.bonding import environment

DOUBLE_BOND = Chem.MolFromSmarts("[C;X3;^2](*)(*)=[C;X3;^2](*)(*)")
BENT = 0.25  # Angstrom from the plane of a double bond, as PoseBusters has it
TRIES = 100  # at a conformer


def to_blame(molecule: Chem.Mol, usual: Collection[str]) -> int:
    """Find the first step that spoilt a molecule; -1: none did.

    1. An atom has neighbours that it never has in `usual` environments.
    2. A double bond between carbons is bent.
    3. Distance geometry finds no place for the atoms: cages and fused small rings.
    """
    steps = [*unusual(molecule, usual), *bent(molecule)]
    return min(steps) if steps else strained(molecule)


def unusual(molecule: Chem.Mol, usual: Collection[str]) -> list[int]:
    """Steps that brought unusual neighbours together."""
    return [
        last_heavy([atom, *atom.GetNeighbors()])
        for atom in molecule.GetAtoms()
        if atom.GetDegree() > 1 and environment(atom) not in usual
    ]


def bent(molecule: Chem.Mol) -> list[int]:
    """Steps that completed a double bond that is not flat."""
    positions = molecule.GetConformer().GetPositions()
    found = []
    for match in molecule.GetSubstructMatches(DOUBLE_BOND):
        apart = positions[list(match)] - positions[list(match)].mean(axis=0)
        normal = np.linalg.svd(apart)[2][2]
        if abs(apart @ normal).max() > BENT:
            found.append(last_heavy([molecule.GetAtomWithIdx(k) for k in match]))
    return found


def last_heavy(atoms: Collection[Chem.Atom]) -> int:
    """Index of the heavy atom that came last."""
    return max(atom.GetIdx() for atom in atoms if atom.GetAtomicNum() > 1)


def strained(molecule: Chem.Mol) -> int:
    """Find the step that closed a cage without a conformer; -1: there is one."""
    if embeds(molecule):
        return -1
    heavy = [a.GetIdx() for a in molecule.GetAtoms() if a.GetAtomicNum() > 1]
    low, high = 3, len(heavy)  # atoms with which it is well, and with which it is not
    while high - low > 1:
        middle = (low + high) // 2
        if embeds(beginning(molecule, heavy[:middle])):
            low = middle
        else:
            high = middle
    return heavy[high - 1]


def beginning(molecule: Chem.Mol, kept: Collection[int]) -> Chem.Mol:
    """Keep some heavy atoms, with hydrogens in place of the others."""
    part = Chem.RWMol(molecule)
    Chem.Kekulize(part, clearAromaticFlags=True)
    for atom in part.GetAtoms():
        atom.SetNoImplicit(False)
    for index in range(molecule.GetNumAtoms() - 1, -1, -1):
        if index not in kept:
            part.RemoveAtom(index)
    with rdBase.BlockLogs():
        Chem.SanitizeMol(part)
    return Chem.AddHs(part, addCoords=True)


def embeds(molecule: Chem.Mol) -> bool:
    """Whether distance geometry finds a conformer with the same stereocentres."""
    copy = Chem.Mol(molecule)
    Chem.AssignStereochemistryFrom3D(copy, replaceExistingTags=True)
    wanted = rdDistGeom.ETKDGv3()
    wanted.randomSeed, wanted.useRandomCoords = 1, True
    wanted.maxIterations = TRIES
    with rdBase.BlockLogs():
        return rdDistGeom.EmbedMolecule(copy, wanted) >= 0
