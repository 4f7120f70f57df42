"""Dynamics: the right ensemble, and errors where there is none."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from equicalc.simulation import SimulationError, molecular_dynamics, read_log, relax
from equicalc.units import KB


@pytest.mark.parametrize("run", [relax, molecular_dynamics])
def test_bad_structures_are_refused(run):
    options = {"steps": 1}
    with pytest.raises(ValueError, match="no atoms"):
        run(Atoms(), EMT(), **options)
    water = molecule("H2O")
    water.positions[1, 0] = np.nan
    with pytest.raises(ValueError, match=r"the first is atom 1 \(H\)"):
        run(water, EMT(), **options)


def test_nve_conserves_energy_momentum_and_angular_momentum():
    start = relax(molecule("CH3CH2OH"), EMT(), fmax=0.1).atoms
    result = molecular_dynamics(start, EMT(), steps=300, timestep=0.2, ensemble="nve")
    total = result.history["total_eV"]
    assert np.ptp(total) < 2e-3
    assert abs(result.drift) < 1e-3
    assert np.allclose(result.atoms.get_momenta().sum(axis=0), 0.0, atol=1e-9)
    assert np.allclose(result.atoms.get_angular_momentum(), 0.0, atol=1e-6)


def test_drawn_velocities_have_the_temperature_in_nve():
    """Without the momenta that are taken out, hence not 300 K * (3N-6)/3N."""
    ratios = [
        molecular_dynamics(
            molecule("CH3CH2OH"), EMT(), steps=0, ensemble="nve", seed=seed
        ).history["temperature_K"][0]
        / 300.0
        for seed in range(60)
    ]
    assert np.mean(ratios) == pytest.approx(1.0, abs=4 * np.sqrt(2 / 21 / 60))


def test_langevin_samples_the_canonical_ensemble(lone_atoms, springs):
    result = molecular_dynamics(
        lone_atoms(),
        springs(),
        steps=2500,
        timestep=6.0,
        temperature=500.0,
        friction=0.02,
        every=5,
    )
    half = {k: v[len(v) // 4 :] for k, v in result.history.items()}
    expected = 1.5 * KB * 500.0 * 30
    assert half["kinetic_eV"].mean() == pytest.approx(expected, rel=0.05)
    assert half["potential_eV"].mean() == pytest.approx(expected, rel=0.05)


def test_barostat_reaches_the_pressure():
    copper = bulk("Cu", cubic=True)
    history = molecular_dynamics(
        copper,
        EMT(),
        steps=600,
        timestep=5.0,
        ensemble="npt",
        temperature=50.0,
        pressure=10.0,
    ).history
    late = slice(len(history["pressure_GPa"]) // 2, None)
    assert abs(history["pressure_GPa"][0]) < 3.0
    assert history["pressure_GPa"][late].mean() == pytest.approx(10.0, abs=2.5)
    assert history["volume_A3"][late].mean() < 0.97 * history["volume_A3"][0]


def test_velocities_of_the_input_are_used():
    first = molecular_dynamics(molecule("H2O"), EMT(), steps=20, ensemble="nve")
    second = molecular_dynamics(first.atoms, EMT(), steps=20, ensemble="nve", seed=5)
    totals = [run.history["total_eV"] for run in (first, second)]
    assert totals[1][0] == pytest.approx(totals[0][-1], abs=1e-9)


def test_seed_decides_the_run():
    def end(seed):
        run = molecular_dynamics(molecule("H2O"), EMT(), steps=20, seed=seed)
        return run.atoms.positions

    assert np.array_equal(end(1), end(1))
    assert not np.allclose(end(1), end(2))


def test_explosion_is_an_error_that_says_when():
    with pytest.raises(SimulationError, match=r"exploded: .* K at step \d+ .*timestep"):
        molecular_dynamics(molecule("H2O"), EMT(), steps=500, timestep=20.0)


def test_energies_that_are_not_finite_stop_the_run(lone_atoms, springs):
    with pytest.raises(SimulationError, match="exploded: nan K at step 7"):
        molecular_dynamics(lone_atoms(2), springs(fail_after=7), steps=50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ensemble": "nph"}, "unknown ensemble 'nph'; choose from nve"),
        ({"ensemble": "npt"}, "periodic in three directions"),
        ({"timestep": 0.0}, "timestep must be positive"),
        ({"timestep": float("nan")}, "timestep must be a finite number, got nan"),
        ({"every": 0}, "every must be a whole number, 1 or more, got 0"),
        ({"every": 1.5}, "every must be a whole number"),
        ({"steps": 2.5}, "steps must be a whole number, 0 or more, got 2.5"),
        ({"seed": -1}, "seed must be a whole number, 0 or more, got -1"),
        ({"temperature": float("nan")}, "temperature must be a finite number, got nan"),
        ({"temperature": float("inf")}, "temperature must be a finite number, got inf"),
        ({"pressure": float("nan")}, "pressure must be a finite number"),
        ({"temperature": -1.0}, "temperature is negative"),
        ({"steps": -1}, "steps must be a whole number, 0 or more, got -1"),
        ({"resume": True}, "needs the trajectory"),
    ],
)
def test_senseless_dynamics_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        molecular_dynamics(molecule("H2O"), EMT(), **{"steps": 1, **options})


@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
def test_one_atom_has_the_temperature_on_average(ensemble, springs):
    ratios = [
        molecular_dynamics(
            Atoms("Ar"), springs(), steps=0, ensemble=ensemble, seed=seed
        ).history["temperature_K"][0]
        / 300.0
        for seed in range(60)
    ]
    assert np.mean(ratios) == pytest.approx(1.0, abs=4 * np.sqrt(2 / 3 / 60))


def test_linear_molecules_start_without_rotation_in_nve():
    """And without warnings, which the tests take for errors."""
    rod = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])
    result = molecular_dynamics(rod, EMT(), steps=0, ensemble="nve")
    assert np.allclose(result.atoms.get_angular_momentum(), 0.0, atol=1e-9)
    assert result.history["temperature_K"][0] > 0


def test_log_reads_back(tmp_path):
    path = tmp_path / "deep" / "a.csv"
    result = molecular_dynamics(molecule("H2O"), EMT(), steps=30, log=path)
    columns = read_log(path)
    assert list(columns) == list(result.history)
    assert np.allclose(columns["total_eV"], result.history["total_eV"])
    path.write_text("a,b\n1\n")
    with pytest.raises(ValueError, match="not a log of numbers"):
        read_log(path)
