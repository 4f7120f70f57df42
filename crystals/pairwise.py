"""Sum pair potentials over a crystal: energy per molecule, forces and stress."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .crystal import MolecularCrystal
from .neighbours import pairs_around
from .potentials import PairPotential

__all__ = ["PairEnergy", "energy_per_molecule", "pair_energy"]


@dataclass(frozen=True)
class PairEnergy:
    """Interaction of the rigid molecules of a crystal.

    Attributes
    ----------
    energy
        Per molecule, eV; negative is bound. Each pair counts half for each partner.
    forces : (n_atoms, 3), eV/Angstrom
        On the atoms of `MolecularCrystal.to_atoms`, from other molecules only.
    stress : (3, 3), eV/Angstrom^3
        Derivative of the energy of the cell by a strain of all atoms, over the volume.
    """

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


def pair_energy(crystal: MolecularCrystal, potential: PairPotential) -> PairEnergy:
    """Sum a potential over all pairs of atoms of different molecules.

    Parameters
    ----------
    crystal
        With any number of independent molecules, in any cell.
    potential
        Its cutoff is sharp, pair by pair.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from equicalc.crystals import LennardJones
    >>> pose = [4, 4, 5, 90, 90, 90, 0, 0, 0, 0, 0, 0]
    >>> water = MolecularCrystal.from_parameters(molecule("H2O"), 1, pose)
    >>> pair_energy(water, LennardJones()).energy < 0
    True
    """
    dst, src, vectors = crystal.intermolecular_vectors(potential.cutoff)
    sites = torch.cat(
        [
            potential.sites(molecule).repeat(n, 1)
            for n, molecule in zip(crystal.multiplicities, crystal.molecules)
        ]
    )
    pair = potential.combine(sites[dst], sites[src])
    squared = torch.as_tensor((vectors**2).sum(axis=1))
    energies, slopes = (term.numpy() for term in potential.terms(squared, pair))
    pull = 2 * slopes[:, None] * vectors  # force on dst, (n_edges, 3)
    forces = np.zeros((len(sites), 3))
    np.add.at(forces, dst, pull)
    constant = sum(
        n * potential.constant(molecule)
        for n, molecule in zip(crystal.multiplicities, crystal.molecules)
    )
    return PairEnergy(
        energy=float(0.5 * energies.sum() + constant) / crystal.n_molecules,
        forces=forces,
        stress=0.5 * pull.T @ vectors / crystal.volume,
    )


def energy_per_molecule(crystal: MolecularCrystal, potential: PairPotential) -> float:
    """Energy of `pair_energy` (eV) alone, from the surroundings of `molecules` only."""
    positions, _ = crystal.unit_cell
    sites = torch.stack([potential.sites(molecule) for molecule in crystal.molecules])
    kinds = np.repeat(np.arange(len(crystal.molecules)), crystal.multiplicities)
    total = 0.0
    counted = zip(crystal.rows.tolist(), crystal.multiplicities)
    for kind, (center, n) in enumerate(counted):
        atoms, molecules, others, vectors = pairs_around(
            positions, crystal.cell, center, potential.cutoff
        )
        pair = potential.combine(sites[kind, atoms], sites[kinds[molecules], others])
        squared = torch.as_tensor((vectors**2).sum(axis=1))
        energies, _ = potential.terms(squared, pair)
        constant = potential.constant(crystal.molecules[kind])
        total += n * (0.5 * float(energies.sum()) + constant)
    return total / crystal.n_molecules
