"""Random conformers of random molecules: endless training data from SMILES alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equicalc.data.smiles import parsed, silent_rdkit

__all__ = ["ConformerOptions", "random_conformer", "random_conformers"]

#: Single bonds outside of rings, between atoms that have something to turn.
ROTATABLE = "[!D1;!$(*#*)]-;!@[!D1;!$(*#*)]"

#: Bonds that look single and do not turn: amides, thioamides, amidines.
STIFF = "[NX3]-;!@[CX3]=[O,S,N]"


@dataclass(frozen=True)
class ConformerOptions:
    """How random conformers are made.

    Attributes
    ----------
    elements : tuple of int
        Atomic numbers allowed; molecules with others are left out.
    max_heavy_atoms : int
        Larger molecules are cut at bonds that turn, and capped with hydrogen.
    steps : int
        Steps of the force field, against clashes only.
    """

    elements: tuple[int, ...] = (1, 6, 7, 8, 9)
    max_heavy_atoms: int = 9
    steps: int = 10


def random_conformers(
    smiles: Sequence[str], options: ConformerOptions, seed: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Draw molecules, and a conformer of each, without end.

    Parameters
    ----------
    smiles
        The molecules to draw from.
    options
        How conformers are made.
    seed
        The same seed gives the same stream.

    Yields
    ------
    dict
        Records for `equicalc.data.write_packed`; the group is the number of the
        SMILES.

    Raises
    ------
    ValueError
        If a thousand molecules in a row cannot be used.

    Examples
    --------
    >>> from itertools import islice
    >>> stream = random_conformers(["CCO", "CC(=O)NC"], ConformerOptions(), [0])
    >>> sorted({len(record["z"]) for record in islice(stream, 8)})
    [9, 12]
    """
    rng = np.random.default_rng(seed)
    failed, reason = 0, "no SMILES were given"
    while failed < 1000 and smiles:
        index = int(rng.integers(len(smiles)))
        try:
            z, pos = random_conformer(smiles[index], options, rng)
        except ValueError as error:
            failed, reason = failed + 1, str(error)
            continue
        failed = 0
        yield {"z": z, "pos": pos, "group": index}
    raise ValueError(f"none of the last molecules could be used; the last: {reason}")


def random_conformer(
    smiles: str, options: ConformerOptions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Make one conformer that need not be stable, but has no clashes.

    1. Cut the molecule until it is small enough.
    2. Embed it (ETKDG).
    3. Turn every bond that turns by a random angle.
    4. Relax it for a few steps of MMFF94 or UFF.

    Parameters
    ----------
    smiles
        The molecule.
    options
        How it is done.
    rng
        Where cuts and angles come from.

    Returns
    -------
    z : (n_atoms,)
    pos : (n_atoms, 3), Angstrom

    Raises
    ------
    ValueError
        If it has other elements, cannot be cut, or cannot be embedded.

    References
    ----------
    .. [1] Kilgour, Rogal, Tuckerman, "Multi-type point cloud autoencoder" (2024),
       section 3.4.
    """
    from rdkit import Chem

    with silent_rdkit():
        molecule = _cut(parsed(smiles), options.max_heavy_atoms, rng)
        molecule = Chem.AddHs(molecule)
        z = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
        if not np.isin(z, options.elements).all():
            raise ValueError(f"{smiles!r} has elements beside {options.elements}")
        _embed(molecule, rng)
        _turn(molecule, rng)
        _relax(molecule, options.steps)
    return z, molecule.GetConformer().GetPositions()


def _cut(molecule: Any, max_heavy_atoms: int, rng: np.random.Generator) -> Any:
    """Cut at a random bond that turns and keep one piece, until it is small enough."""
    from rdkit import Chem

    while molecule.GetNumHeavyAtoms() > max_heavy_atoms:
        bonds = _turning(molecule)
        if not bonds:
            raise ValueError(
                f"{Chem.MolToSmiles(molecule)!r} has more than {max_heavy_atoms} heavy "
                "atoms and no bond to cut"
            )
        begin, end = bonds[int(rng.integers(len(bonds)))]
        bond = molecule.GetBondBetweenAtoms(begin, end).GetIdx()
        halves = Chem.FragmentOnBonds(molecule, [bond], addDummies=False)
        for index in (begin, end):  # open ends take a hydrogen
            atom = halves.GetAtomWithIdx(index)
            atom.SetNoImplicit(False)
            atom.SetNumRadicalElectrons(0)
        pieces = Chem.GetMolFrags(halves, asMols=True)
        molecule = pieces[int(rng.integers(len(pieces)))]
    return molecule


def _turning(molecule: Any) -> list[tuple[int, int]]:
    """Bonds that turn; without hydrogens in the graph, those between heavy groups."""
    from rdkit import Chem

    rotatable, stiff = Chem.MolFromSmarts(ROTATABLE), Chem.MolFromSmarts(STIFF)
    amides = {frozenset(match[:2]) for match in molecule.GetSubstructMatches(stiff)}
    return [
        pair
        for pair in molecule.GetSubstructMatches(rotatable)
        if frozenset(pair) not in amides
    ]


def _embed(molecule: Any, rng: np.random.Generator) -> None:
    from rdkit.Chem import AllChem

    parameters = AllChem.ETKDGv3()  # pyright: ignore[reportAttributeAccessIssue]
    parameters.randomSeed = int(rng.integers(2**31 - 1))
    parameters.maxIterations = 20
    if AllChem.EmbedMolecule(molecule, parameters) != 0:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError("no three-dimensional structure could be embedded")


def _turn(molecule: Any, rng: np.random.Generator) -> None:
    """Set every torsion to a random angle, degrees."""
    from rdkit.Chem import rdMolTransforms

    conformer = molecule.GetConformer()
    for begin, end in _turning(molecule):
        first = _neighbour(molecule, begin, end)
        last = _neighbour(molecule, end, begin)
        angle = float(rng.uniform(-180.0, 180.0))
        rdMolTransforms.SetDihedralDeg(conformer, first, begin, end, last, angle)


def _neighbour(molecule: Any, atom: int, other: int) -> int:
    bonded = molecule.GetAtomWithIdx(atom).GetNeighbors()
    return next(n.GetIdx() for n in bonded if n.GetIdx() != other)


def _relax(molecule: Any, steps: int) -> None:
    """Move atoms out of each other's way."""
    from rdkit.Chem import rdForceFieldHelpers

    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
        rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=steps)
    elif rdForceFieldHelpers.UFFHasAllMoleculeParams(molecule):
        rdForceFieldHelpers.UFFOptimizeMolecule(molecule, maxIters=steps)
