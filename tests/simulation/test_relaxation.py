"""Relaxation: to small forces, from where it was stopped."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from equicalc.simulation import (
    SimulationError,
    relax,
)


@pytest.mark.parametrize("optimizer", ["lbfgs", "bfgs", "bfgs-line-search", "fire2"])
def test_relaxed_forces_are_small_and_the_input_is_left_alone(optimizer):
    water = molecule("H2O")
    before = water.positions.copy()
    result = relax(water, EMT(), fmax=1e-3, optimizer=optimizer)
    assert result.converged
    assert result.fmax < 1e-3
    assert result.energy < result.energy_start
    assert np.array_equal(water.positions, before)
    assert water.calc is None
    assert result.atoms.get_potential_energy() == result.energy


def test_relaxed_cell_has_no_pressure():
    copper = bulk("Cu", a=3.8)
    result = relax(copper, EMT(), fmax=1e-3, cell=True)
    assert result.converged
    assert abs(result.atoms.get_stress()).max() < 1e-3
    assert result.atoms.cell.lengths()[0] < copper.cell.lengths()[0]


def test_steps_run_out_without_an_error():
    result = relax(molecule("CH3CH2OH"), EMT(), fmax=1e-9, steps=3)
    assert not result.converged
    assert result.steps == 3


def test_no_steps_only_evaluate():
    result = relax(molecule("H2O"), EMT(), steps=0)
    assert result.steps == 0
    assert result.energy == result.energy_start


def test_constraints_hold_in_relaxation():
    water = molecule("H2O")
    water.set_constraint(FixAtoms([0]))
    assert np.array_equal(
        relax(water, EMT()).atoms.positions[0], molecule("H2O").positions[0]
    )


@pytest.mark.parametrize("suffix", ["extxyz", "xyz", "traj"])
def test_relaxation_stopped_midway_goes_on(tmp_path, suffix, read_all):
    path = tmp_path / f"water.{suffix}"
    whole = relax(molecule("H2O"), EMT(), fmax=1e-4)
    first = relax(molecule("H2O"), EMT(), fmax=1e-4, steps=3, trajectory=path)
    second = relax(molecule("H2O"), EMT(), fmax=1e-4, trajectory=path, resume=True)
    frames = read_all(path)
    assert len(frames) == second.steps + 1 > first.steps + 1
    assert second.energy_start == pytest.approx(first.energy_start)
    assert second.energy == pytest.approx(whole.energy, abs=1e-6)
    assert frames[-1].get_potential_energy() == pytest.approx(second.energy, abs=1e-6)


def test_relaxation_without_finite_energy_is_stopped(
    tmp_path, lone_atoms, springs, read_all
):
    path = tmp_path / "a.extxyz"
    with pytest.raises(SimulationError, match="not finite at step 2"):
        relax(lone_atoms(2), springs(fail_after=2), steps=9, fmax=1e-9, trajectory=path)
    assert len(read_all(path)) == 2  # the good ones


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "newton"}, "unknown optimizer 'newton'; choose from lbfgs"),
        ({"fmax": 0.0}, "fmax must be positive"),
        ({"steps": -1}, "steps must be a whole number"),
        ({"cell": True}, "periodic in three directions"),
        ({"resume": True}, "needs the trajectory"),
        ({"trajectory": "a.pdb"}, "must end with .extxyz"),
    ],
)
def test_senseless_relaxation_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        relax(molecule("H2O"), EMT(), **options)
