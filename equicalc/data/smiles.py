"""Molecules from SMILES: three-dimensional structures, fragments, identity.

What other modules need of RDKit starts here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equicalc.data.arrays import read_npz
from equicalc.data.bonds import molecule_with_bonds
from equicalc.data.damage import naming

if TYPE_CHECKING:
    from ase import Atoms

SMILES_SUFFIXES = (".smi", ".txt", ".csv", ".npz")
GAP = 2.5  # Angstrom from molecule to molecule of a SMILES


def atoms_from_smiles(smiles: str, seed: int = 0) -> Atoms:
    """Three-dimensional structure of a molecule, relaxed with MMFF94 or UFF.

    Parameters
    ----------
    smiles
        SMILES of one molecule, or of several that lie side by side; hydrogens are
        added.
    seed
        Seed of the embedding: the same seed gives the same structure.

    Returns
    -------
    ase.Atoms
        Not periodic; ``info`` holds the ``"smiles"``, the total ``"charge"`` (e) and,
        of a radical, the multiplicity ``"spin"``.

    Raises
    ------
    ValueError
        If the SMILES cannot be parsed or no structure can be embedded.

    Examples
    --------
    >>> atoms_from_smiles("CCO").get_chemical_formula()
    'C2H6O'
    """
    return conformers(smiles, 1, seed)[0]


def conformers(smiles: str, n: int, seed: int = 0) -> list[Atoms]:
    """Up to `n` conformers of a molecule by ETKDG, each relaxed with MMFF94 or UFF.

    Parameters
    ----------
    smiles
        As for `atoms_from_smiles`.
    n
        How many conformers to try for, at least 1.
    seed
        Seed of the embedding.

    Returns
    -------
    list of ase.Atoms
        At least one structure; fewer than `n` if some embeddings failed.

    Raises
    ------
    ValueError
        If the SMILES cannot be parsed or no structure can be embedded.
    """
    from ase import Atoms
    from rdkit import Chem

    if n < 1:
        raise ValueError(f"n = {n} conformers asked for; give at least 1")
    with silent_rdkit():
        molecule = Chem.AddHs(parsed(smiles))
        _embed(molecule, n, seed, smiles)
        _relax(molecule)
        _set_apart(molecule)
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    formal = [atom.GetFormalCharge() for atom in molecule.GetAtoms()]
    unpaired = sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    info: dict[str, Any] = {"smiles": smiles, "charge": sum(formal)}
    if unpaired:
        info["spin"] = unpaired + 1
    return [
        Atoms(
            numbers,
            positions=conformer.GetPositions(),
            charges=formal if info["charge"] else None,
            info=dict(info),
        )
        for conformer in molecule.GetConformers()
    ]


def mmff_charges(atoms: Atoms) -> np.ndarray:
    """Partial charges of a neutral molecule after the force field MMFF94 [1]_.

    They are made for interactions between molecules in condensed phases: larger than
    those that population analyses find.

    Parameters
    ----------
    atoms
        One molecule with its hydrogens; bonds are perceived from distances.

    Returns
    -------
    (n_atoms,), e

    Raises
    ------
    ValueError
        If bonds cannot be perceived or the force field lacks an atom type.

    References
    ----------
    .. [1] T. A. Halgren, J. Comput. Chem. 17, 520 (1996).

    Examples
    --------
    >>> mmff_charges(atoms_from_smiles("O")).round(2).tolist()
    [-0.86, 0.43, 0.43]
    """
    from rdkit import Chem
    from rdkit.Chem import rdForceFieldHelpers

    for zwitterion in (True, False):
        with silent_rdkit():
            try:
                bonded = molecule_with_bonds(atoms, zwitterion)
                Chem.SanitizeMol(bonded)
            except ValueError:
                continue
            types = rdForceFieldHelpers.MMFFGetMoleculeProperties(bonded)
        if types is None:
            continue
        charges = [types.GetMMFFPartialCharge(index) for index in range(len(atoms))]
        if abs(sum(charges)) < 1e-3:
            return np.array(charges)
    raise ValueError(
        f"MMFF94 finds no charges for {atoms.get_chemical_formula()}: its bonds are "
        "not recognised, or the force field lacks an atom type; give charges"
    )


def canonical(smiles: str, stereo: bool = True) -> str:
    """Canonical SMILES; without `stereo`, the same for all stereoisomers.

    Examples
    --------
    >>> canonical("OCC")
    'CCO'
    """
    from rdkit import Chem

    with silent_rdkit():
        return Chem.MolToSmiles(parsed(smiles), isomericSmiles=stereo)


def composition(smiles: str) -> tuple[frozenset[str], int, int, int]:
    """Elements (with H), heavy atoms, total charge and unpaired electrons."""
    from rdkit import Chem

    with silent_rdkit():
        molecule = Chem.AddHs(parsed(smiles))
    atoms = list(molecule.GetAtoms())
    return (
        frozenset(atom.GetSymbol() for atom in atoms),
        sum(atom.GetAtomicNum() > 1 for atom in atoms),
        sum(atom.GetFormalCharge() for atom in atoms),
        sum(atom.GetNumRadicalElectrons() for atom in atoms),
    )


def heavy_atoms(smiles: str) -> int:
    """Count the atoms other than hydrogen.

    Examples
    --------
    >>> heavy_atoms("CCO")
    3
    """
    with silent_rdkit():
        return parsed(smiles).GetNumHeavyAtoms()


def fragments(smiles: Iterable[str], max_heavy_atoms: int = 12) -> list[str]:
    """Distinct pieces of molecules, cut at BRICS bonds and at ring-linker bonds.

    Open ends are capped with hydrogen. Molecules that are small enough are kept
    whole beside their pieces.

    Parameters
    ----------
    smiles
        Molecules to cut.
    max_heavy_atoms
        Larger pieces are left out; pieces of fewer than two heavy atoms too.

    Returns
    -------
    list of str
        Canonical SMILES in the order in which they were first met.

    Examples
    --------
    >>> fragments(["c1ccccc1C(=O)NCC"])
    ['CCNC(=O)c1ccccc1', 'c1ccccc1', 'C=O', 'CC', 'CCNC=O']
    """
    pieces: dict[str, None] = {}
    with silent_rdkit():
        for text in smiles:
            molecule = parsed(text)
            for piece in _pieces(molecule):
                if 2 <= piece.GetNumHeavyAtoms() <= max_heavy_atoms:
                    pieces.setdefault(_smiles(piece))
    return list(pieces)


def read_smiles(path: str | Path) -> list[str]:
    """SMILES of a file, in order: ``.smi``/``.txt``, ``.csv`` or ``.npz``.

    ``.smi`` and ``.txt`` hold one SMILES a line, optionally followed by a name;
    ``#`` starts a comment line. ``.csv`` and ``.npz`` have a column ``smiles``, the
    former in capitals or not.

    Raises
    ------
    ValueError
        If the file cannot be read, has no such column, holds no SMILES, or a ``.smi``
        has a header.
    """
    return [text for _, text in numbered_smiles(path)]


def numbered_smiles(path: str | Path) -> list[tuple[int, str]]:
    """Read the SMILES of a file with their lines; see `read_smiles`."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is no file: give one with a SMILES in each line")
    with naming(path, "holds no SMILES that can be read"):
        found = [(line, text) for line, text in _raw_smiles(path) if text]
    if not found:
        raise ValueError(f"{path} holds no SMILES")
    return found


def is_smiles_file(path: Path) -> bool:
    """Whether the name of a file says that it holds SMILES.

    Examples
    --------
    >>> is_smiles_file(Path("molecules.SMI")), is_smiles_file(Path("water.xyz"))
    (True, False)
    """
    return path.suffix.lower() in SMILES_SUFFIXES


def _raw_smiles(path: Path) -> Iterator[tuple[int, str]]:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        column = read_npz(path, ["smiles"])["smiles"].reshape(-1)
        yield from enumerate(map(str, np.char.decode(column.astype(bytes), "ascii")), 1)
    elif suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            [column] = [
                name for name in rows.fieldnames or () if name.lower() == "smiles"
            ] or ["smiles"]
            for row in rows:
                yield rows.line_num, (row[column] or "").strip()
    else:
        for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                text = line.split()[0]
                if text.lower() == "smiles":
                    raise ValueError(
                        f"{path}:{number}: {line.strip()!r} is a header, and every "
                        "line must begin with a SMILES: remove it, or put a # before it"
                    )
                yield number, text


def parsed(smiles: str) -> Any:
    """Return RDKit's molecule of a SMILES.

    Raises
    ------
    ValueError
        If it is not valid.
    """
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles) if smiles.strip() else None
    if molecule is None:
        raise ValueError(f"{smiles!r} is not a valid SMILES")
    return molecule


def _embed(molecule: Any, n: int, seed: int, smiles: str) -> None:
    from rdkit.Chem import AllChem

    parameters = AllChem.ETKDGv3()  # pyright: ignore[reportAttributeAccessIssue]
    parameters.randomSeed = seed % (2**31 - 1)
    # RDKit multiplies the seed by the number of the conformer: 0 would repeat the first
    parameters.enableSequentialRandomSeeds = parameters.randomSeed == 0
    for random_start in (False, True):
        parameters.useRandomCoords = random_start
        if len(AllChem.EmbedMultipleConfs(molecule, n, parameters)):  # pyright: ignore[reportAttributeAccessIssue]
            return
    raise ValueError(f"no three-dimensional structure could be embedded for {smiles!r}")


def _relax(molecule: Any) -> None:
    from rdkit.Chem import AllChem

    if molecule.GetNumAtoms() == 1:
        return
    # RDKit's MMFF94 takes the multiple bonds of N2, CO2, CS2, SO3, ... for single ones
    bare = molecule.GetNumAtoms() == molecule.GetNumHeavyAtoms() <= 4
    if not bare and AllChem.MMFFHasAllMoleculeParams(molecule):  # pyright: ignore[reportAttributeAccessIssue]
        AllChem.MMFFOptimizeMoleculeConfs(molecule)  # pyright: ignore[reportAttributeAccessIssue]
    elif AllChem.UFFHasAllMoleculeParams(molecule):  # pyright: ignore[reportAttributeAccessIssue]
        AllChem.UFFOptimizeMoleculeConfs(molecule)  # pyright: ignore[reportAttributeAccessIssue]


def _set_apart(molecule: Any) -> None:
    """Put molecules, which RDKit embeds on top of each other, into a row along x."""
    from rdkit import Chem

    members = [list(member) for member in Chem.GetMolFrags(molecule)]
    if len(members) == 1:
        return
    for conformer in molecule.GetConformers():
        positions, end = conformer.GetPositions(), 0.0
        for member in members:
            positions[member, 0] += end - positions[member, 0].min()
            end = positions[member, 0].max() + GAP
        for index, position in enumerate(positions.tolist()):
            conformer.SetAtomPosition(index, position)


def _pieces(molecule: Any) -> Iterator[Any]:
    from rdkit import Chem
    from rdkit.Chem import BRICS

    yield molecule
    ring_linker = Chem.MolFromSmarts("[R;!$([R]=*)]-;!@[*]")
    cuts = (
        [pair for pair, _ in BRICS.FindBRICSBonds(molecule)],
        molecule.GetSubstructMatches(ring_linker),
    )
    for pairs in cuts:
        bonds = {molecule.GetBondBetweenAtoms(*pair).GetIdx() for pair in pairs}
        if bonds:
            cut = Chem.FragmentOnBonds(molecule, sorted(bonds), addDummies=False)
            yield from Chem.GetMolFrags(cut, asMols=True)


def _smiles(piece: Any) -> str:
    """Canonical SMILES with open valences filled by hydrogen."""
    from rdkit import Chem

    for atom in piece.GetAtoms():
        atom.SetNumRadicalElectrons(0)
        atom.SetNoImplicit(False)
    return Chem.CanonSmiles(Chem.MolToSmiles(piece))


@contextmanager
def silent_rdkit() -> Iterator[None]:
    """Keep RDKit's messages off stderr: failures are raised as errors instead."""
    from rdkit import rdBase

    block = rdBase.BlockLogs()
    try:
        yield
    finally:
        del block
