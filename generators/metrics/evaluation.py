"""Validity, uniqueness, novelty and stability of a set of molecules."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from .lookup import lookup_stability
from .validity import strictly_valid, valid_molecule

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["evaluate_molecules"]

PROTOCOL = "xyz2mol with the covalent radii of RDKit 2023.03 x 1.3, charge 0"


def evaluate_molecules(
    molecules: Iterable[Atoms], known: Collection[str] = ()
) -> dict[str, Any]:
    """Return how many molecules are what they should be, in percent.

    Parameters
    ----------
    molecules
        Generated structures, all of them: what is not valid counts.
    known
        Canonical SMILES of the training set, for the novelty.

    Returns
    -------
    dict
        ``n_molecules``; ``validity`` (bond orders exist), ``strict_validity`` (in one
        piece, no radicals, no charges); ``uniqueness`` (different SMILES among the
        valid); ``novelty`` (not among the known ones, of the different ones; only with
        `known`); ``atom_stability`` and ``molecule_stability`` by a table of
        distances; ``protocol`` and ``versions``.

    Raises
    ------
    ValueError
        If there are no molecules.

    Examples
    --------
    >>> from ase.build import molecule
    >>> table = evaluate_molecules([molecule("CH4"), molecule("CH4"), molecule("CH3")])
    >>> round(table["validity"], 1), table["uniqueness"]
    (66.7, 50.0)
    """
    from rdkit import Chem, rdBase

    smiles: list[str] = []
    n = strict = n_atoms = stable_atoms = stable = 0
    for atoms in molecules:
        n += 1
        whole = valid_molecule(atoms)
        if whole is not None:
            smiles.append(Chem.MolToSmiles(Chem.RemoveHs(whole)))
            strict += strictly_valid(whole)
        good = lookup_stability(atoms)
        n_atoms, stable_atoms = n_atoms + len(good), stable_atoms + int(good.sum())
        stable += bool(good.all())
    if not n:
        raise ValueError("there are no molecules to evaluate")
    different = set(smiles)
    table: dict[str, Any] = {
        "n_molecules": n,
        "validity": 100 * len(smiles) / n,
        "strict_validity": 100 * strict / n,
        "uniqueness": 100 * len(different) / max(len(smiles), 1),
        "atom_stability": 100 * stable_atoms / n_atoms,
        "molecule_stability": 100 * stable / n,
        "protocol": PROTOCOL,
        "versions": {"rdkit": rdBase.rdkitVersion},
    }
    if known:
        table["novelty"] = 100 * len(different - set(known)) / max(len(different), 1)
    return table
