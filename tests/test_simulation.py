"""Relaxation and dynamics: right physics, nothing lost, nothing changed by resuming."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read

from equicalc.simulation import (
    SimulationError,
    molecular_dynamics,
    read_log,
    relax,
)
from equicalc.units import KB


class Springs(Calculator):
    """Harmonic wells at the origin; `fail_after` calls it returns NaN or dies."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, k=1.0, fail_after=10**9, failure=None):
        super().__init__()
        self.k, self.left, self.failure = k, fail_after, failure

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        self.left -= 1
        if self.left < 0 and self.failure is not None:
            raise self.failure
        scale = np.nan if self.left < 0 else self.k
        x = self.atoms.positions
        self.results = {"energy": 0.5 * scale * (x**2).sum(), "forces": -scale * x}


def lone_atoms(n=30):
    return Atoms("Ar" * n, positions=np.random.default_rng(0).normal(size=(n, 3)))


def read_all(path):
    frames = read(path, ":")
    assert isinstance(frames, list)
    return frames


# relaxation


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
def test_relaxation_stopped_midway_goes_on(tmp_path, suffix):
    path = tmp_path / f"water.{suffix}"
    whole = relax(molecule("H2O"), EMT(), fmax=1e-4)
    first = relax(molecule("H2O"), EMT(), fmax=1e-4, steps=3, trajectory=path)
    second = relax(molecule("H2O"), EMT(), fmax=1e-4, trajectory=path, resume=True)
    frames = read_all(path)
    assert len(frames) == second.steps + 1 > first.steps + 1
    assert second.energy_start == pytest.approx(first.energy_start)
    assert second.energy == pytest.approx(whole.energy, abs=1e-6)
    assert frames[-1].get_potential_energy() == pytest.approx(second.energy, abs=1e-6)


def test_relaxation_without_finite_energy_is_stopped(tmp_path):
    path = tmp_path / "a.extxyz"
    with pytest.raises(SimulationError, match="not finite at step 2"):
        relax(lone_atoms(2), Springs(fail_after=2), steps=9, fmax=1e-9, trajectory=path)
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


@pytest.mark.parametrize("run", [relax, molecular_dynamics])
def test_bad_structures_are_refused(run):
    options = {"steps": 1}
    with pytest.raises(ValueError, match="no atoms"):
        run(Atoms(), EMT(), **options)
    water = molecule("H2O")
    water.positions[1, 0] = np.nan
    with pytest.raises(ValueError, match=r"the first is atom 1 \(H\)"):
        run(water, EMT(), **options)


# dynamics


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


def test_langevin_samples_the_canonical_ensemble():
    result = molecular_dynamics(
        lone_atoms(),
        Springs(),
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


CASES = {
    "nve": (molecule("H2O"), EMT, {"timestep": 0.5}),
    "nvt": (molecule("H2O"), EMT, {"timestep": 0.5}),
    "npt": (bulk("Cu", cubic=True), EMT, {"timestep": 2.0, "pressure": 1.0}),
}


@pytest.mark.parametrize("ensemble", CASES)
def test_resumed_run_is_the_uninterrupted_run_to_the_bit(tmp_path, ensemble):
    start, calculator, options = CASES[ensemble]
    options = {**options, "ensemble": ensemble, "every": 5, "seed": 3}

    def run(name, steps, **more):
        return molecular_dynamics(
            start,
            calculator(),
            steps=steps,
            trajectory=tmp_path / f"{name}.extxyz",
            log=tmp_path / f"{name}.csv",
            **options,
            **more,
        )

    whole = run("whole", 40)
    run("halves", 17)  # the last frame is that of step 15
    resumed = run("halves", 40, resume=True)
    assert np.array_equal(whole.atoms.positions, resumed.atoms.positions)
    for suffix in ("extxyz", "csv"):
        files = [tmp_path / f"{name}.{suffix}" for name in ("whole", "halves")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert np.allclose(whole.history["total_eV"], resumed.history["total_eV"])


@pytest.mark.parametrize("suffix", ["extxyz", "traj"])
def test_half_written_frames_are_dropped(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    options = {"trajectory": path, "every": 5}
    molecular_dynamics(molecule("H2O"), EMT(), steps=20, **options)
    restart = path.with_name(path.name + ".restart.npz").read_bytes()
    molecular_dynamics(molecule("H2O"), EMT(), steps=40, resume=True, **options)
    path.with_name(path.name + ".restart.npz").write_bytes(restart)
    if suffix == "extxyz":
        path.write_bytes(path.read_bytes()[:-40])
    molecular_dynamics(molecule("H2O"), EMT(), steps=30, resume=True, **options)
    assert [frame.info["step"] for frame in read_all(path)] == [*range(0, 31, 5)]


def test_killed_run_goes_on(tmp_path):
    path = tmp_path / "water.extxyz"
    code = (
        "from ase.build import molecule\n"
        "from ase.calculators.emt import EMT\n"
        "from equicalc.simulation import molecular_dynamics\n"
        "molecular_dynamics(molecule('H2O'), EMT(), steps=10**6, every=3,\n"
        f"    trajectory={str(path)!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    restart = path.with_name(path.name + ".restart.npz")
    while not restart.exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with np.load(restart) as saved:
        reached = int(saved["step"])
    result = molecular_dynamics(
        molecule("H2O"),
        EMT(),
        steps=reached + 9,
        every=3,
        trajectory=path,
        resume=True,
    )
    steps = [frame.info["step"] for frame in read_all(path)]
    assert steps == [*range(0, reached + 10, 3)]
    assert result.steps == reached + 9


def test_failing_calculator_loses_nothing_written(tmp_path):
    path = tmp_path / "a.extxyz"
    springs = Springs(fail_after=13, failure=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        molecular_dynamics(lone_atoms(3), springs, steps=50, every=5, trajectory=path)
    assert len(read_all(path)) == 3
    assert read_all(path)[-1].get_forces().shape == (3, 3)


def test_new_run_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.extxyz"
    molecular_dynamics(molecule("H2O"), EMT(), steps=50, trajectory=path)
    molecular_dynamics(molecule("H2O"), EMT(), steps=10, trajectory=path)
    assert len(read_all(path)) == 2


def test_resume_refuses_another_run(tmp_path):
    path = tmp_path / "a.extxyz"
    molecular_dynamics(molecule("H2O"), EMT(), steps=10, trajectory=path)
    again = {"steps": 20, "trajectory": path, "resume": True}
    with pytest.raises(ValueError, match=r"timestep was 0\.5, now 1\.0"):
        molecular_dynamics(molecule("H2O"), EMT(), timestep=1.0, **again)
    with pytest.raises(ValueError, match="another structure"):
        molecular_dynamics(molecule("NH3"), EMT(), **again)
    path.with_name(path.name + ".restart.npz").write_bytes(b"PK\x03\x04broken")
    with pytest.raises(ValueError, match="is no restart file"):
        molecular_dynamics(molecule("H2O"), EMT(), **again)


def test_resume_refuses_files_that_do_not_fit_and_leaves_them(tmp_path):
    trajectory, log = tmp_path / "a.extxyz", tmp_path / "a.csv"
    restart = tmp_path / "a.extxyz.restart.npz"
    options = {"trajectory": trajectory, "log": log, "every": 5}
    molecular_dynamics(molecule("H2O"), EMT(), steps=20, **options)
    whole = {path: path.read_bytes() for path in (trajectory, log, restart)}

    def refuses(broken, content, message):
        for path, data in whole.items():
            path.write_bytes(data)
        if content is None:
            broken.unlink()
        else:
            broken.write_bytes(content)
        left = {path: path.read_bytes() for path in whole if path.exists()}
        with pytest.raises(ValueError, match=message) as caught:
            molecular_dynamics(molecule("H2O"), EMT(), steps=30, resume=True, **options)
        assert broken.name in str(caught.value)
        assert {path: path.read_bytes() for path in whole if path.exists()} == left

    refuses(restart, None, "restart file .* is missing")
    for path in (trajectory, log):
        refuses(path, None, "missing or cut short")
        refuses(path, whole[path][:50], "cut short .50 of")


def test_resume_refuses_a_binary_trajectory_cut_short(tmp_path):
    path = tmp_path / "a.traj"
    molecular_dynamics(molecule("H2O"), EMT(), steps=20, trajectory=path)
    molecular_dynamics(molecule("H2O"), EMT(), steps=0, trajectory=tmp_path / "b.traj")
    again = {"steps": 30, "trajectory": path, "resume": True}
    path.write_bytes((tmp_path / "b.traj").read_bytes())
    with pytest.raises(ValueError, match="1 of 3 frames"):
        molecular_dynamics(molecule("H2O"), EMT(), **again)
    path.unlink()
    with pytest.raises(ValueError, match=r"a\.traj is missing"):
        molecular_dynamics(molecule("H2O"), EMT(), **again)


def test_resume_compares_constraints_and_periodicity(tmp_path):
    path = tmp_path / "a.extxyz"
    fixed = molecule("H2O")
    fixed.set_constraint(FixAtoms([0]))
    molecular_dynamics(fixed, EMT(), steps=10, trajectory=path)
    again = {"steps": 20, "trajectory": path, "resume": True}
    with pytest.raises(ValueError, match="its constraints differ"):
        molecular_dynamics(molecule("H2O"), EMT(), **again)
    fixed.set_cell([9, 9, 9])
    fixed.pbc = True
    with pytest.raises(ValueError, match="its pbc differ"):
        molecular_dynamics(fixed, EMT(), **again)
    fixed.pbc = False
    assert molecular_dynamics(fixed, EMT(), **again).steps == 20


def test_run_killed_before_its_first_frame_begins_anew(tmp_path):
    path = tmp_path / "a.extxyz"
    path.write_text("")
    molecular_dynamics(molecule("H2O"), EMT(), steps=10, trajectory=path, resume=True)
    assert len(read_all(path)) == 2


def test_explosion_is_an_error_that_says_when():
    with pytest.raises(SimulationError, match=r"exploded: .* K at step \d+ .*timestep"):
        molecular_dynamics(molecule("H2O"), EMT(), steps=500, timestep=20.0)


def test_energies_that_are_not_finite_stop_the_run():
    with pytest.raises(SimulationError, match="exploded: nan K at step 7"):
        molecular_dynamics(lone_atoms(2), Springs(fail_after=7), steps=50)


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
def test_one_atom_has_the_temperature_on_average(ensemble):
    ratios = [
        molecular_dynamics(
            Atoms("Ar"), Springs(), steps=0, ensemble=ensemble, seed=seed
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
