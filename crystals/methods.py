"""Methods for lattice energies by name, for the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from equicalc._version import __version__
from equicalc.calculators.named import named_calculator
from equicalc.data.smiles import mmff_charges
from equicalc.units import KJ_PER_MOL

from .crystal import MolecularCrystal
from .lattice import (
    LatticeEnergy,
    Relax,
    lattice_energy,
    packed_energy,
    two_body_energy,
)
from .pairwise import pair_energy
from .potentials import POTENTIALS, named_potential

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator

__all__ = ["Method", "assign_charges", "named_method"]

TWO_BODY = "-2b"


@dataclass(frozen=True)
class Method:
    """A way to calculate lattice energies.

    Attributes
    ----------
    name
        As given to `named_method`.
    version
        Of the programs behind it, to be kept with results.
    evaluate
        Called with a crystal and the molecule of the gas phase, or None to relax or
        keep that of the crystal, as the method does.
    """

    name: str
    version: str
    evaluate: Callable[[MolecularCrystal, Atoms | None], LatticeEnergy]


def named_method(name: str, relax: Relax = None) -> Method:
    """Build the method that a name means.

    Parameters
    ----------
    name
        ``"gfn2-2b"``: GFN2-xTB for pairs of molecules (any calculator of
        `equicalc.calculators.named` followed by ``-2b`` works). ``"lj"``,
        ``"paper_soft"``, ``"exp6"``: pair potentials between rigid molecules; exp6 with
        charges of MMFF94 where the crystal brings none. ``"mace"``,
        ``"mace:NAME"``: see `equicalc.crystals.mace.load_mace`. ``"predictor"``,
        ``"predictor:FILE"``: `LatticeEnergyPredictor`, with strains by the shipped
        potential. Any other name: that calculator for crystal and molecule.
    relax
        For calculators, as for `lattice_energy`; the two-body methods relax the
        molecule unless it is None.

    Raises
    ------
    ValueError
        If there is no such method.
    ImportError
        If what it needs is not installed.

    Examples
    --------
    >>> named_method("lj").name
    'lj'
    """
    if name in POTENTIALS:
        return Method(name, f"equicalc {__version__}", _pair_method(name))
    kind = name.partition("+")[0].partition(":")[0]
    if kind in _NETWORKS:
        return _NETWORKS[kind](name, relax)
    base = name.removesuffix(TWO_BODY)
    try:
        calculator = named_calculator(base)
    except ValueError as error:
        known = ", ".join([*POTENTIALS, *_NETWORKS])
        raise ValueError(
            f"method {name!r} is unknown; give {known}, or a calculator, such as gfn2 "
            f"for crystals and gfn2{TWO_BODY} for pairs of molecules ({error})"
        ) from error
    origin = _version_of(calculator)

    def two_body(crystal: MolecularCrystal, gas: Atoms | None) -> LatticeEnergy:
        chosen = gas if gas is not None else ("relax" if relax else None)
        return two_body_energy(crystal, calculator, gas=chosen)

    def periodic(crystal: MolecularCrystal, gas: Atoms | None) -> LatticeEnergy:
        return lattice_energy(crystal, calculator, relax, gas)

    return Method(name, origin, two_body if base != name else periodic)


def assign_charges(
    crystal: MolecularCrystal, calculator: BaseCalculator | None = None
) -> MolecularCrystal:
    """Give the molecules of a crystal partial charges.

    Parameters
    ----------
    crystal
        Stays as it is.
    calculator
        Any with charges, used on each molecule in vacuum; None for those of MMFF94,
        see `equicalc.data.smiles.mmff_charges`.

    Raises
    ------
    PropertyNotImplementedError
        If the calculator has no charges.
    ValueError
        If MMFF94 does not know the molecule.
    """
    charged = []
    for molecule in crystal.molecules:
        single = molecule.copy()
        single.calc = calculator
        charges = mmff_charges(single) if calculator is None else single.get_charges()
        molecule = molecule.copy()
        molecule.set_initial_charges(charges)
        charged.append(molecule)
    return replace(crystal, molecules=tuple(charged))


def _pair_method(
    name: str,
) -> Callable[[MolecularCrystal, Atoms | None], LatticeEnergy]:
    potential = named_potential(name)

    def evaluate(crystal: MolecularCrystal, gas: Atoms | None) -> LatticeEnergy:
        del gas  # rigid molecules have no strain
        charges = [m.get_initial_charges().any() for m in crystal.molecules]
        if name == "exp6" and not any(charges):
            crystal = assign_charges(crystal)
        energy = pair_energy(crystal, potential).energy / KJ_PER_MOL
        return LatticeEnergy(energy, energy, 0.0, crystal.n_molecules)

    return evaluate


def _mace_method(name: str, relax: Relax) -> Method:
    from .mace import load_mace

    labels = load_mace(name)

    def evaluate(crystal: MolecularCrystal, gas: Atoms | None) -> LatticeEnergy:
        if relax == "both":
            return lattice_energy(crystal, labels.calculator(), relax, gas)
        return labels.lattice_energy(crystal, gas, strain=relax is not None)

    return Method(name, labels.version, evaluate)


def _predictor_method(name: str, relax: Relax) -> Method:
    from .predictor import LatticeEnergyPredictor
    from .strain import Strain

    if relax == "both":
        raise ValueError(
            f"{name} predicts energies; relax crystals with its as_calculator() or "
            "`equicalc crystals relax`"
        )
    predictor = LatticeEnergyPredictor.from_pretrained(name.partition(":")[2] or None)
    strain = Strain()

    def evaluate(crystal: MolecularCrystal, gas: Atoms | None) -> LatticeEnergy:
        (interaction,) = predictor.predict([crystal])
        bent, notes = 0.0, []
        if gas is not None or relax is not None:
            bent, notes = strain.of(crystal, gas)
        return packed_energy(
            crystal, interaction * KJ_PER_MOL, bent * KJ_PER_MOL, notes
        )

    return Method(name, f"equicalc {__version__}, {predictor.digest}", evaluate)


#: What builds the methods of trained networks.
_NETWORKS = {"mace": _mace_method, "predictor": _predictor_method}


def _version_of(calculator: BaseCalculator) -> str:
    """Package that a calculator comes from, with its version."""
    package = type(calculator).__module__.partition(".")[0]
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package
