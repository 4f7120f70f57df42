"""All measures of a set of molecules in one table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols

from .lookup import lookup_molecule, lookup_stability
from .open_babel import openbabel_smiles, openbabel_version
from .poses import pose_checks, posebusters_version
from .statistics import Statistics, compare
from .validity import (
    RADII_2023,
    plain_smiles,
    stereo_smiles,
    strictly_valid,
    valid_molecule,
)

if TYPE_CHECKING:
    from ase import Atoms
__all__ = ["evaluate_molecules"]

PROTOCOL = (
    "xyz2mol with the covalent radii of RDKit 2023.03 x 1.3, charge 0; "
    "uniqueness by xyz2mol with stereochemistry, all else without"
)


def _require_molecule(atoms: Atoms, number: int) -> None:
    if not len(atoms):
        raise ValueError(f"structure {number} has no atoms: leave it out")
    if atoms.pbc.any():
        raise ValueError(
            f"structure {number} is periodic along {atoms.pbc.tolist()}: molecules "
            "are evaluated; set atoms.pbc = False if it is one"
        )
    if not np.isfinite(atoms.positions).all():
        raise ValueError(f"structure {number} has a position that is not finite")
    if unknown := set(atoms.numbers.tolist()) - RADII_2023.keys():
        names = ", ".join(chemical_symbols[z] for z in sorted(unknown))
        raise ValueError(
            f"structure {number}, {atoms.get_chemical_formula()}, has {names}: "
            "validity is defined for H, C, N, O and F; leave it out"
        )


def evaluate_molecules(
    molecules: Iterable[Atoms],
    known: Collection[str] = (),
    *,
    openbabel: bool = False,
    n_posebusters: int = 0,
    reference: Statistics | None = None,
) -> dict[str, Any]:
    """Return how many molecules are what they should be, in percent.

    Parameters
    ----------
    molecules
        Generated structures, all of them: what is not valid counts.
    known
        Canonical SMILES of the training set, without stereo, for the novelty.
    openbabel
        Also ask OpenBabel for its validity.
    n_posebusters
        Check the first so many valid molecules with PoseBusters.
    reference
        Statistics of the training set to compare the valid molecules with.

    Returns
    -------
    dict
        ``n_molecules``; ``validity`` (bond orders exist), ``strict_validity`` (in one
        piece, no radicals, no charges); ``uniqueness`` (different SMILES among the
        valid, stereoisomers apart, as published [1]_); ``constitutions`` (different
        SMILES among the valid, without stereochemistry); ``novelty`` (not among the
        known ones, of the different constitutions; only with `known`);
        ``atom_stability`` and ``molecule_stability`` by a table of distances;
        ``tools``: validity and uniqueness by xyz2mol, lookup table and OpenBabel;
        ``posebusters``, see `pose_checks`; the keys of `compare`; ``protocol`` and
        ``versions``.

    Raises
    ------
    ValueError
        If there are no molecules, or one is periodic, has positions that are not
        finite, or other elements than H, C, N, O and F; it tells which one.
    ImportError
        If a tool that is asked for is missing.

    References
    ----------
    .. [1] Daigavane et al., "Symphony", ICLR 2024: RDKit's DetermineBonds and SMILES
       of what it finds, which have stereochemistry.

    Examples
    --------
    >>> from ase.build import molecule
    >>> table = evaluate_molecules([molecule("CH4"), molecule("CH4"), molecule("CH3")])
    >>> round(table["validity"], 1), table["uniqueness"]
    (66.7, 50.0)
    """
    from rdkit import rdBase

    structures = list(molecules)
    if not structures:
        raise ValueError("there are no molecules to evaluate")
    for number, atoms in enumerate(structures):
        _require_molecule(atoms, number)
    found = [valid_molecule(atoms) for atoms in structures]
    whole = [molecule for molecule in found if molecule is not None]
    smiles = [
        None if molecule is None else plain_smiles(molecule) for molecule in found
    ]
    stereo = [
        None if molecule is None else stereo_smiles(molecule) for molecule in found
    ]
    tools = {
        "xyz2mol": _shares(stereo),
        "lookup": _shares([_lookup_smiles(atoms) for atoms in structures]),
    }
    versions = {"rdkit": rdBase.rdkitVersion}
    if openbabel:
        tools["openbabel"] = _shares([openbabel_smiles(atoms) for atoms in structures])
        versions["openbabel"] = openbabel_version()
    table: dict[str, Any] = {
        "n_molecules": len(structures),
        **tools["xyz2mol"],
        "constitutions": _shares(smiles)["uniqueness"],
        "strict_validity": _percent(map(strictly_valid, found)),
        **_stability(structures),
        "tools": tools,
        "protocol": PROTOCOL,
        "versions": versions,
    }
    if different := set(smiles) - {None}:
        if known:
            table["novelty"] = _percent(text not in known for text in different)
        if n_posebusters:
            table["posebusters"] = pose_checks(whole[:n_posebusters])
            table["n_posebusters"] = len(whole[:n_posebusters])
            versions["posebusters"] = posebusters_version()
        if reference is not None:
            table |= compare(Statistics.of(whole), reference)
            table["n_reference"] = reference.n_molecules
    return table


def _shares(smiles: Sequence[str | None]) -> dict[str, float]:
    """Return validity, and uniqueness among the valid; None: not valid."""
    valid = [text for text in smiles if text is not None]
    return {
        "validity": 100 * len(valid) / len(smiles),
        "uniqueness": 100 * len(set(valid)) / max(len(valid), 1),
    }


def _stability(structures: Sequence[Atoms]) -> dict[str, float]:
    stable = [lookup_stability(atoms) for atoms in structures]
    return {
        "atom_stability": _percent(bool(one) for good in stable for one in good),
        "molecule_stability": _percent(bool(good.all()) for good in stable),
    }


def _lookup_smiles(atoms: Atoms) -> str | None:
    molecule = lookup_molecule(atoms)
    return None if molecule is None else plain_smiles(molecule)


def _percent(flags: Iterable[bool]) -> float:
    values = list(flags)
    return 100 * sum(values) / len(values)
