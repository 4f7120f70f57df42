"""Properties and embeddings of structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import field_validator

from equicalc.units import BOHR, DEBYE, HARTREE

from .filters import rdkit_molecule
from .step import Rejected, Step, noted

if TYPE_CHECKING:
    from ase import Atoms

    from equicalc.calculators import PropertyPredictor

__all__ = ["Embed", "Predict", "Properties", "gfn2_properties"]


class Properties(Step):
    """Note properties of molecules in ``info``.

    Attributes
    ----------
    names
        Of ``gap`` (eV, between the highest occupied and the lowest empty orbital of
        GFN2-xTB), ``dipole_moment`` (Debye, GFN2-xTB), ``molar_mass`` (g/mol),
        ``heavy_atoms``, ``rings``, ``logp`` (Crippen's estimate).

    Examples
    --------
    >>> from equicalc.data.smiles import atoms_from_smiles
    >>> [benzene] = Properties(names=["rings"])([atoms_from_smiles("c1ccccc1")])
    >>> benzene.info["rings"]
    1
    """

    chunk = 16

    names: tuple[str, ...]

    @field_validator("names")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(names) - QUANTUM - SIMPLE.keys():
            raise ValueError(
                f"unknown: {', '.join(sorted(unknown))}; known are "
                f"{', '.join(sorted(QUANTUM | SIMPLE.keys()))}"
            )
        return names

    def check(self) -> None:
        """Look for tblite, if GFN2-xTB is asked for."""
        if QUANTUM & set(self.names):
            _tblite_calculator()

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Calculate them."""
        found = gfn2_properties(atoms) if QUANTUM & set(self.names) else {}
        for name in self.names:
            if name in SIMPLE:
                found[name] = SIMPLE[name](atoms)
        return [noted(atoms, **{name: found[name] for name in self.names})]


class Predict(Step):
    """Note what a property network predicts, under the names of its targets.

    Attributes
    ----------
    model
        As for `equicalc.PropertyPredictor.from_pretrained`.

    Examples
    --------
    >>> from ase.build import molecule
    >>> [methane] = Predict()([molecule("CH4")])
    >>> bool(abs(methane.info["U0"] - -1102.0) < 1.0)  # eV
    True
    """

    model: str = "qm9-u0"

    def check(self) -> None:
        """Load the network."""
        self._predictor()

    def many(self, structures: Sequence[Atoms]) -> list[list[Atoms] | Rejected]:
        """Predict together; one by one if that fails for any of them."""
        try:
            values = self._predictor().predict(structures)
        except (ValueError, RuntimeError):  # of one; the others need not suffer
            return super().many(structures)
        return [
            [noted(atoms, **{name: float(x[k]) for name, x in values.items()})]
            for k, atoms in enumerate(structures)
        ]

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Predict for one structure."""
        values = self._predictor().predict(atoms)
        return [noted(atoms, **{name: float(x) for name, x in values.items()})]

    def _predictor(self) -> PropertyPredictor:
        from equicalc.calculators import PropertyPredictor

        return PropertyPredictor.from_pretrained(self.model)


class Embed(Step):
    """Note the ``embedding`` of molecules: what a network's features say of them.

    Attributes
    ----------
    model
        As for `equicalc.embedding.Embedder.from_pretrained`; the shipped potential by
        default.
    """

    model: str | None = None

    def check(self) -> None:
        """Find the network."""
        from equicalc.pretrained import weights_path

        weights_path(self.model)

    def many(self, structures: Sequence[Atoms]) -> list[list[Atoms] | Rejected]:
        """Embed structures together; one by one if that fails for any of them."""
        from equicalc.embedding import Embedder

        embedder = Embedder.from_pretrained(self.model)
        try:
            points = embedder.invariants(structures, per_irrep=False)
        except (ValueError, RuntimeError):  # of one; the others need not suffer
            return super().many(structures)
        return [
            [noted(atoms, embedding=point.astype(np.float64))]
            for atoms, point in zip(structures, points)
        ]

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Embed one structure."""
        from equicalc.embedding import Embedder

        embedder = Embedder.from_pretrained(self.model)
        [point] = embedder.invariants([atoms], per_irrep=False)
        return [noted(atoms, embedding=point.astype(np.float64))]


def gfn2_properties(atoms: Atoms) -> dict[str, Any]:
    """Return ``gap`` (eV) and ``dipole_moment`` (Debye) by GFN2-xTB.

    Parameters
    ----------
    atoms
        A neutral closed-shell molecule.

    Raises
    ------
    ImportError
        If tblite is missing.
    ValueError
        If there is an odd number of electrons.

    References
    ----------
    .. [1] Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019).

    Examples
    --------
    >>> from ase.build import molecule
    >>> water = gfn2_properties(molecule("H2O"))
    >>> 2.0 < water["dipole_moment"] < 2.6, 10 < water["gap"] < 18
    (True, True)
    """
    calculator = _tblite_calculator()("GFN2-xTB", atoms.numbers, atoms.positions / BOHR)
    calculator.set("verbosity", 0)
    result = calculator.singlepoint()
    levels = np.asarray(result.get("orbital-energies"))
    occupied = np.asarray(result.get("orbital-occupations")) > 1.0
    if not 0 < occupied.sum() < len(levels):
        raise ValueError("no empty or no occupied orbitals: there is no gap")
    gap = levels[~occupied].min() - levels[occupied].max()
    dipole = np.linalg.norm(result.get("dipole")) * BOHR / DEBYE
    return {"gap": float(gap * HARTREE), "dipole_moment": float(dipole)}


def _tblite_calculator() -> Any:
    try:
        from tblite.interface import Calculator
    except ModuleNotFoundError as error:
        raise ImportError(
            'GFN2-xTB needs tblite: pip install "equicalc[label]"'
        ) from error
    return Calculator


def _logp(atoms: Atoms) -> float:
    from rdkit.Chem import Crippen

    return float(Crippen.MolLogP(rdkit_molecule(atoms)))  # pyright: ignore[reportAttributeAccessIssue]


def _rings(atoms: Atoms) -> int:
    from rdkit.Chem import rdMolDescriptors

    return rdMolDescriptors.CalcNumRings(rdkit_molecule(atoms))


QUANTUM = {"gap", "dipole_moment"}
SIMPLE: dict[str, Callable[[Atoms], float]] = {
    "molar_mass": lambda atoms: float(atoms.get_masses().sum()),
    "heavy_atoms": lambda atoms: int((atoms.numbers > 1).sum()),
    "rings": _rings,
    "logp": _logp,
}
