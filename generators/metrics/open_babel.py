"""Validity by OpenBabel: bonds and bond orders as it perceives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .lookup import VALENCES

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["has_openbabel", "openbabel_smiles", "openbabel_version"]


def has_openbabel() -> bool:
    """Whether OpenBabel is installed."""
    from importlib.util import find_spec

    return find_spec("openbabel") is not None


def openbabel_smiles(atoms: Atoms) -> str | None:
    """Return OpenBabel's canonical SMILES, None if an atom has a wrong valence.

    Every atom must have its usual valence: H 1, C 4, N 3, O 2, F 1.

    Parameters
    ----------
    atoms
        A molecule of H, C, N, O, F.

    Raises
    ------
    ImportError
        If OpenBabel is missing.
    ValueError
        For other elements.

    References
    ----------
    .. [1] O'Boyle et al., "Open Babel: an open chemical toolbox", J. Cheminform. 3,
       33 (2011).
    """
    if unknown := set(atoms.numbers.tolist()) - VALENCES.keys():
        raise ValueError(f"no valence is known of atomic numbers {sorted(unknown)}")
    openbabel = _openbabel()
    molecule = openbabel.OBMol()
    molecule.BeginModify()
    for number, place in zip(atoms.numbers, atoms.positions):
        atom = molecule.NewAtom()
        atom.SetAtomicNum(int(number))
        atom.SetVector(*place.tolist())
    molecule.EndModify()
    log = openbabel.obErrorLog
    log.StopLogging()  # it warns on stderr about strange molecules
    try:
        molecule.ConnectTheDots()
        molecule.PerceiveBondOrders()
        for atom in openbabel.OBMolAtomIter(molecule):
            if atom.GetExplicitValence() != VALENCES[atom.GetAtomicNum()]:
                return None
        conversion = openbabel.OBConversion()
        conversion.SetOutFormat("can")
        conversion.AddOption("i", conversion.OUTOPTIONS)  # no stereochemistry
        return conversion.WriteString(molecule).split()[0]
    finally:
        log.StartLogging()


def openbabel_version() -> str:
    """Return the version of OpenBabel."""
    return _openbabel().OBReleaseVersion()


def _openbabel() -> Any:
    try:
        from openbabel import openbabel
    except ImportError as error:
        raise ImportError(
            'OpenBabel is missing: pip install "equicalc[openbabel]" (GPL)'
        ) from error
    return openbabel
