"""Filters: which molecules are worth going on with."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, FilePath, model_validator

from .step import MissingError, Rejected, Step, noted

if TYPE_CHECKING:
    from ase import Atoms
    from rdkit.Chem import Mol

__all__ = [
    "Composition",
    "Novel",
    "Plausible",
    "Synthesizable",
    "Valid",
    "Window",
    "known_property",
    "rdkit_molecule",
    "smiles_of",
]


class Valid(Step):
    """Keep molecules that bond orders can be assigned to; notes the ``smiles``.

    Attributes
    ----------
    strict
        Refuse pieces, radicals and formal charges, too.

    Examples
    --------
    >>> from ase.build import molecule
    >>> [a.info["smiles"] for a in Valid()([molecule("CH3OH"), molecule("CH3")])]
    ['CO']
    """

    strict: bool = True

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Assign bond orders."""
        from rdkit import Chem

        from equicalc.generators.metrics import strictly_valid, valid_molecule

        if not atoms.info.get("complete", True):
            raise Rejected("the generator did not come to an end")
        molecule = valid_molecule(atoms)
        if molecule is None:
            raise Rejected("no assignment of bond orders")
        if self.strict and not strictly_valid(molecule):
            raise Rejected("pieces, radicals or formal charges")
        return [noted(atoms, smiles=Chem.MolToSmiles(Chem.RemoveHs(molecule)))]


class Plausible(Step):
    """Keep molecules whose geometry passes the tests of PoseBusters.

    Lengths, angles, flat rings, clashes and internal energy, see
    `equicalc.generators.metrics.pose_checks`.
    """

    chunk = 16

    def check(self) -> None:
        """Look for PoseBusters."""
        from equicalc.generators.metrics import has_posebusters

        if not has_posebusters():
            raise ImportError('PoseBusters is missing: pip install "equicalc[metrics]"')

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Name the tests that fail."""
        from equicalc.generators.metrics import pose_checks, valid_molecule

        molecule = valid_molecule(atoms)
        if molecule is None:
            raise Rejected("no assignment of bond orders")
        percent = pose_checks([molecule])
        if failed := sorted(name for name, passed in percent.items() if not passed):
            raise Rejected(", ".join(failed))
        return [atoms]


class Synthesizable(Step):
    """Keep molecules that look easy to make; notes the ``sa_score``.

    Attributes
    ----------
    at_most
        Score of synthetic accessibility: 1 easy, 10 hard.

    References
    ----------
    .. [1] Ertl, Schuffenhauer, J. Cheminform. 1, 8 (2009).
    """

    at_most: float = 6.0

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Score the molecule."""
        from rdkit.Contrib.SA_Score import sascorer  # pyright: ignore[reportMissingImports]

        score = float(sascorer.calculateScore(rdkit_molecule(atoms)))
        if score > self.at_most:
            raise Rejected(f"synthetic accessibility {score:.1f}")
        return [noted(atoms, sa_score=score)]


class Composition(Step):
    """Keep structures by what they consist of.

    Attributes
    ----------
    elements
        The allowed ones; empty for any.
    counts
        Fewest and most atoms of an element, such as ``{"O": (1, 3)}``.
    heavy_atoms
        Fewest and most atoms other than hydrogen.

    Examples
    --------
    >>> from ase.build import molecule
    >>> step = Composition(counts={"O": (1, 1)})
    >>> [str(a.symbols) for a in step([molecule("CH4"), molecule("H2O")])]
    ['OH2']
    """

    elements: tuple[str, ...] = ()
    counts: dict[str, tuple[int, int]] = Field(default_factory=dict)
    heavy_atoms: tuple[int, int] = (1, 1000)

    @model_validator(mode="after")
    def _are_ranges(self) -> Self:
        for name, ends in (*self.counts.items(), ("heavy_atoms", self.heavy_atoms)):
            _require_order(name, *ends)
        return self

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Count atoms."""
        found = atoms.symbols.formula.count()
        if other := sorted(set(found) - set(self.elements or found)):
            raise Rejected(f"has {', '.join(other)}")
        for symbol, (fewest, most) in self.counts.items():
            if not fewest <= found.get(symbol, 0) <= most:
                raise Rejected(f"{found.get(symbol, 0)} atoms of {symbol}")
        heavy = sum(n for symbol, n in found.items() if symbol != "H")
        if not self.heavy_atoms[0] <= heavy <= self.heavy_atoms[1]:
            raise Rejected(f"{heavy} heavy atoms")
        return [atoms]


class Window(Step):
    """Keep structures whose properties are within bounds.

    Attributes
    ----------
    bounds
        Lowest and highest value of each property, None for no limit.
    """

    bounds: dict[str, tuple[float | None, float | None]]

    @model_validator(mode="after")
    def _are_ranges(self) -> Self:
        for name, (low, high) in self.bounds.items():
            if low is not None and high is not None:
                _require_order(name, low, high)
        return self

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Compare."""
        for name, (low, high) in self.bounds.items():
            value = known_property(atoms, name)
            if (low is not None and value < low) or (high is not None and value > high):
                raise Rejected(f"{name} {value:.4g}")
        return [atoms]


def _require_order(name: str, low: float, high: float) -> None:
    """Refuse a range that nothing is in."""
    if not low <= high:
        raise ValueError(
            f"{name}: [{low:g}, {high:g}] has nothing between; give the smaller number "
            "first"
        )


class Novel(Step):
    """Keep molecules that are not in a list; notes the nearest one that is.

    ``info`` gets ``nearest_known`` (SMILES) and ``known_similarity`` (Tanimoto, of
    Morgan fingerprints of radius 2).

    Attributes
    ----------
    known
        File of SMILES.
    below
        Refuse molecules as similar as this; 1 refuses only the listed ones.
    """

    known: FilePath
    below: float = 1.0

    def check(self) -> None:
        """Read the list."""
        _known(self.known)

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Compare with every molecule of the list."""
        from rdkit.DataStructs import BulkTanimotoSimilarity

        from equicalc.data.smiles import canonical

        smiles, fingerprints = _known(self.known)
        if canonical(smiles_of(atoms), stereo=False) in smiles:
            raise Rejected("known")
        mark = _fingerprint(rdkit_molecule(atoms))
        likeness = BulkTanimotoSimilarity(mark, fingerprints)
        nearest = max(range(len(smiles)), key=likeness.__getitem__)
        if self.below < 1 and likeness[nearest] >= self.below:
            raise Rejected(f"{likeness[nearest]:.2f} like {smiles[nearest]}")
        return [
            noted(
                atoms,
                nearest_known=smiles[nearest],
                known_similarity=likeness[nearest],
            )
        ]


def known_property(atoms: Atoms, name: str) -> float:
    """Return a number that an earlier step noted.

    Raises
    ------
    MissingError
        If none did.
    """
    if name not in atoms.info:
        raise MissingError(f"no {name}: an earlier step must calculate it")
    return float(atoms.info[name])


def smiles_of(atoms: Atoms) -> str:
    """Return the SMILES that `Valid` noted.

    Raises
    ------
    MissingError
        If it has not seen the structure.
    """
    if "smiles" not in atoms.info:
        raise MissingError("no SMILES in info: the step valid must come before")
    return atoms.info["smiles"]


def rdkit_molecule(atoms: Atoms) -> Mol:
    """Return the molecule that `Valid` found, without coordinates."""
    from rdkit import Chem

    return Chem.MolFromSmiles(smiles_of(atoms))


@lru_cache(maxsize=4)
def _known(path: Path) -> tuple[list[str], list[Any]]:
    """Canonical SMILES without stereochemistry, and fingerprints."""
    from rdkit import Chem

    from equicalc.data.smiles import canonical, read_smiles

    smiles = list({canonical(s, stereo=False): None for s in read_smiles(path)})
    return smiles, [_fingerprint(Chem.MolFromSmiles(s)) for s in smiles]


def _fingerprint(molecule: Mol) -> Any:
    from rdkit.Chem import rdFingerprintGenerator

    generator: Any = rdFingerprintGenerator.GetMorganGenerator(radius=2)
    return generator.GetFingerprint(molecule)
