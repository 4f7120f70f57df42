"""Lattice energies with any ASE calculator, and from dimers alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from equicalc.data.bonds import find_bonds
from equicalc.simulation import relax as relax_structure
from equicalc.units import KJ_PER_MOL

from .crystal import MolecularCrystal, as_crystal
from .neighbours import Neighbour

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator

__all__ = ["LatticeEnergy", "lattice_energy", "two_body_energy"]

Relax = Literal["molecule", "both"] | None
FMAX = 0.01  # eV/Angstrom
STEPS = 500
SAME_DIMER = 1e-3  # Angstrom between sorted distances of equal dimers
NOT_BOUND = 1e-4  # eV
CRYSTAL_OPEN = "the crystal did not converge"
MOLECULE_OPEN = "the molecule did not converge"
CLOSE_CONTACT = 0.7  # in sums of van der Waals radii; hydrogen bonds are above


@dataclass(frozen=True)
class LatticeEnergy:
    """Energy of a crystal against its molecules in the gas phase.

    Attributes
    ----------
    energy
        kJ/mol per molecule; negative is bound. Interaction and strain together.
    interaction
        kJ/mol per molecule: the crystal against its molecules as they are in it.
    strain
        kJ/mol: the molecule as it is in the crystal against the relaxed one; 0 if no
        molecule was relaxed.
    z
        Molecules in the cell that was given.
    converged
        Whether all relaxations ended.
    warnings
        What makes the number doubtful.
    """

    energy: float
    interaction: float
    strain: float
    z: int
    converged: bool = True
    warnings: tuple[str, ...] = ()


def lattice_energy(
    atoms: Atoms | MolecularCrystal,
    calculator: BaseCalculator,
    relax: Relax = None,
    gas: Atoms | None = None,
) -> LatticeEnergy:
    """Lattice energy with a calculator that knows crystals and molecules.

    Parameters
    ----------
    atoms
        A crystal; it stays as it is.
    calculator
        Any ASE calculator.
    relax
        ``None``: the molecule of the gas phase is as in the crystal, the strain 0.
        ``"molecule"``: it is relaxed. ``"both"``: and the crystal before, with its
        cell if the calculator has a stress.
    gas
        The molecule of the gas phase, which is not relaxed then.

    Returns
    -------
    LatticeEnergy

    Raises
    ------
    CrystalError
        If it is no crystal of one neutral molecule.
    ValueError
        If `relax` is something else.

    Notes
    -----
    1. Energy of the cell over its number of molecules, minus the mean energy of these
       in vacuum as they are in the crystal: the interaction.
    2. Energy of these minus that of the relaxed molecule, the lowest of the independent
       ones: the strain.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from ase.calculators.emt import EMT
    >>> pose = [4, 4, 4, 90, 90, 90, 0, 0, 0, 0, 0, 0]
    >>> water = MolecularCrystal.from_parameters(molecule("H2O"), 1, pose)
    >>> result = lattice_energy(water, EMT(), relax="molecule")
    >>> result.z, result.strain > 0
    (1, True)
    """
    if relax not in (None, "molecule", "both"):
        raise ValueError(f"relax is {relax!r}; give None, 'molecule' or 'both'")
    crystal = as_crystal(atoms)
    whole, notes = crystal.to_atoms(), []
    if relax == "both":
        stress = "stress" in calculator.implemented_properties
        relaxed = relax_structure(
            whole, calculator, fmax=FMAX, steps=STEPS, cell=stress
        )
        whole = relaxed.atoms
        crystal = MolecularCrystal.from_atoms(whole)
        notes += [] if relaxed.converged else [CRYSTAL_OPEN]
        notes += [] if stress else ["no stress: the cell stayed as it was"]
    # 1
    total = energy_of_copy(whole, calculator)
    shares = np.array(crystal.multiplicities) / crystal.n_molecules
    posed = np.array([energy_of_copy(m, calculator) for m in crystal.molecules])
    interaction = total / crystal.n_molecules - float(shares @ posed)
    # 2
    mean, reference = float(shares @ posed), None
    if gas is not None:
        reference = energy_of_copy(gas, calculator)
    elif relax is not None:
        reference, more = gas_phase(crystal.molecules, calculator)
        notes += more
    strain = 0.0 if reference is None else mean - reference
    return packed_energy(crystal, interaction, strain, notes)


def two_body_energy(
    atoms: Atoms | MolecularCrystal,
    calculator: BaseCalculator,
    cutoff: float = 10.0,
    gas: Atoms | Literal["relax"] | None = "relax",
    progress: Callable[[int, int], None] | None = None,
) -> LatticeEnergy:
    """Lattice energy as the sum over pairs of molecules, for methods without crystals.

    With GFN2-xTB (``"gfn2-2b"`` of the command line) better than the periodic
    calculation, whose three-body and long-range terms cost more than they bring.

    Parameters
    ----------
    atoms
        A crystal.
    calculator
        For molecules: `equicalc.calculators.named.named_calculator` of ``"gfn2"``.
    cutoff : Angstrom
        Between the nearest atoms of two molecules.
    gas
        The molecule of the gas phase: ``"relax"`` relaxes that of the crystal, None
        takes it as it is (strain 0), or a structure.
    progress
        Called with the number of dimers done and of all that differ.

    Returns
    -------
    LatticeEnergy

    Notes
    -----
    The interaction is half the sum of E(0j) - E(0) - E(j) over the neighbours j of each
    independent molecule 0. Dimers with the same distances between all their atoms are
    mapped onto each other by symmetry (or a mirror image) and are calculated once.

    Raises
    ------
    CrystalError
        If it is no crystal of one neutral molecule.
    """
    crystal = as_crystal(atoms)
    posed = [energy_of_copy(molecule, calculator) for molecule in crystal.molecules]
    alone = np.repeat(posed, crystal.multiplicities)
    dimers = distinct_dimers(crystal, cutoff)
    pairs = 0.0
    for done, (dimer, neighbour, weight) in enumerate(dimers, 1):
        apart = alone[neighbour.center] + alone[neighbour.molecule]
        pairs += weight * (energy_of_copy(dimer, calculator) - apart)
        if progress is not None:
            progress(done, len(dimers))
    interaction = 0.5 * pairs / crystal.n_molecules
    mean, notes = float(alone.mean()), []
    if gas is None:
        reference = mean
    elif gas == "relax":
        reference, notes = gas_phase(crystal.molecules, calculator)
    else:
        reference = energy_of_copy(gas, calculator)
    return packed_energy(crystal, interaction, mean - reference, notes)


def energy_of_copy(atoms: Atoms, calculator: BaseCalculator) -> float:
    """Energy, eV, with a calculator; the atoms keep theirs."""
    copy = atoms.copy()
    copy.calc = calculator
    energy = float(copy.get_potential_energy())
    if not np.isfinite(energy):
        raise RuntimeError(
            f"the energy of {copy.get_chemical_formula()} is {energy}: the calculator "
            "failed"
        )
    return energy


def gas_phase(
    molecules: Sequence[Atoms], calculator: BaseCalculator
) -> tuple[float, list[str]]:
    """Energy (eV) of the lowest relaxed molecule, and what went wrong."""
    energies, notes = [], []
    for molecule in molecules:
        relaxed = relax_structure(molecule, calculator, fmax=FMAX, steps=STEPS)
        energies.append(relaxed.energy)
        if not relaxed.converged:
            notes.append(MOLECULE_OPEN)
        if not np.array_equal(find_bonds(relaxed.atoms), find_bonds(molecule)):
            notes.append("bonds changed when the molecule was relaxed")
    return min(energies), notes


def distinct_dimers(
    crystal: MolecularCrystal, cutoff: float
) -> list[tuple[Atoms, Neighbour, float]]:
    """Pairs of molecules of a crystal, one of each kind.

    Parameters
    ----------
    crystal
    cutoff : Angstrom
        Between the nearest atoms of two molecules.

    Returns
    -------
    list of tuple
        The dimer, its neighbour, and how often the cell has it.
    """
    from ase import Atoms

    positions, numbers = crystal.unit_cell
    charges = crystal.to_atoms().get_initial_charges().reshape(numbers.shape)
    copies = dict(zip(crystal.rows.tolist(), crystal.multiplicities))
    marks: list[NDArray[np.float64]] = []
    kept: list[tuple[Atoms, Neighbour, float]] = []
    for one in crystal.neighbours(cutoff):
        other = positions[one.molecule] + one.shift @ crystal.cell
        dimer = Atoms(
            np.concatenate([numbers[one.center], numbers[one.molecule]]),
            positions=np.concatenate([positions[one.center], other]),
        )
        if charges.any():
            pair = np.concatenate([charges[one.center], charges[one.molecule]])
            dimer.set_initial_charges(pair)
        mark = _fingerprint(dimer, len(other))
        weight = float(copies[one.center])
        for place, known in enumerate(marks):
            if np.abs(known - mark).max() < SAME_DIMER:
                same, neighbour, so_far = kept[place]
                kept[place] = (same, neighbour, so_far + weight)
                break
        else:
            marks.append(mark)
            kept.append((dimer, one, weight))
    return kept


def _fingerprint(dimer: Atoms, size: int) -> NDArray[np.float64]:
    """Sorted distances between two molecules, element by element."""
    a, b = dimer.positions[:size], dimer.positions[size:]
    distances = np.linalg.norm(a[:, None] - b, axis=-1).ravel()
    low = np.minimum(dimer.numbers[:size, None], dimer.numbers[size:]).ravel()
    high = np.maximum(dimer.numbers[:size, None], dimer.numbers[size:]).ravel()
    return distances[np.lexsort((distances, high, low))]


def packed_energy(
    crystal: MolecularCrystal, interaction: float, strain: float, notes: list[str]
) -> LatticeEnergy:
    """Pack energies in eV, with the warnings that hold for any method."""
    if crystal.contact < CLOSE_CONTACT:
        notes.append(f"close contact, {crystal.contact:.2f} of the radii")
    if interaction > NOT_BOUND:
        notes.append("not bound")
    if strain < -KJ_PER_MOL:
        notes.append("the molecule of the gas phase is not the lowest one")
    interaction, strain = float(interaction), float(strain)
    return LatticeEnergy(
        energy=(interaction + strain) / KJ_PER_MOL,
        interaction=interaction / KJ_PER_MOL,
        strain=strain / KJ_PER_MOL,
        z=crystal.n_molecules,
        converged={CRYSTAL_OPEN, MOLECULE_OPEN}.isdisjoint(notes),
        warnings=tuple(dict.fromkeys(notes)),
    )
