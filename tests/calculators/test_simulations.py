"""ASE's dynamics, optimisers and band methods run with the calculator."""

import os
from typing import Any

import numpy as np
import pytest
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.units import fs, kB


@pytest.mark.parametrize("kind", ["ethanol", "crystal"])
def test_dynamics_conserves_energy(calc, kind, request):
    atoms = request.getfixturevalue(kind)
    atoms.calc = calc
    spread = np.sqrt(300 * kB * atoms.get_masses())[:, None]
    atoms.set_momenta(np.random.default_rng(0).normal(0, spread, (len(atoms), 3)))
    totals = []
    dynamics = VelocityVerlet(atoms, 0.25 * fs)
    dynamics.attach(lambda: totals.append(atoms.get_total_energy()))
    dynamics.run(60)
    kinetic = atoms.get_kinetic_energy()
    assert np.ptp(totals) < 5e-3 * kinetic


def test_relaxation_of_positions_lowers_energy(calc, ethanol):
    ethanol.calc = calc
    before = ethanol.get_potential_energy()
    BFGS(ethanol, logfile=os.devnull).run(fmax=0.02, steps=10)
    assert ethanol.get_potential_energy() < before


def test_relaxation_of_the_cell_lowers_energy(calc, crystal):
    crystal.calc = calc
    before = crystal.get_potential_energy()
    cell: Any = FrechetCellFilter(crystal)
    FIRE(cell, logfile=os.devnull).run(fmax=1e-3, steps=6)
    assert crystal.get_potential_energy() < before


def test_band_shares_one_calculator(calc, ethanol):
    last = ethanol.copy()
    last.positions[8] += (0.2, 0.1, 0.3)
    images = [ethanol, *(ethanol.copy() for _ in range(3)), last]
    for image in images:
        image.calc = calc
    band = NEB(images, allow_shared_calculator=True, method="improvedtangent")
    band.interpolate()
    forces = band.get_forces()
    separate = [calc.get_potential_energy(image) for image in images]
    energies = np.array(band.energies)
    np.testing.assert_allclose(energies[1:-1], separate[1:-1], atol=1e-10)
    assert forces.shape == (27, 3)


def test_constraints_are_applied_by_ase_only(calc, ethanol):
    free = calc.get_forces(ethanol)
    ethanol.calc = calc
    ethanol.set_constraint(FixAtoms([0]))
    assert not ethanol.get_forces()[0].any()
    np.testing.assert_array_equal(ethanol.get_forces(apply_constraint=False), free)
