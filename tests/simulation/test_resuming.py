"""Runs on disk: nothing is lost, nothing is changed by resuming."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms

from equicalc import EquiCalculator
from equicalc.models import Potential, PotentialConfig
from equicalc.simulation import molecular_dynamics, relax

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
def test_half_written_frames_are_dropped(tmp_path, suffix, read_all):
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


def test_killed_run_goes_on(tmp_path, read_all):
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


def test_failing_calculator_loses_nothing_written(
    tmp_path, lone_atoms, springs, read_all
):
    path = tmp_path / "a.extxyz"
    dying = springs(fail_after=13, failure=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        molecular_dynamics(lone_atoms(3), dying, steps=50, every=5, trajectory=path)
    assert len(read_all(path)) == 3
    assert read_all(path)[-1].get_forces().shape == (3, 3)


def test_new_run_replaces_the_old_one(tmp_path, read_all):
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
    with pytest.raises(ValueError, match="its pbc and start_cell differ"):
        molecular_dynamics(fixed, EMT(), **again)
    fixed.cell, fixed.pbc = None, False
    assert molecular_dynamics(fixed, EMT(), **again).steps == 20


def test_resume_compares_where_the_run_began_and_what_moved_it(tmp_path):
    path = tmp_path / "a.extxyz"
    molecular_dynamics(molecule("H2O"), EMT(), steps=10, trajectory=path)
    again = {"steps": 20, "trajectory": path, "resume": True}
    other = molecule("H2O")
    other.positions[1] *= 1.01
    with pytest.raises(ValueError, match="its start_positions differ"):
        molecular_dynamics(other, EMT(), **again)
    heavy = molecule("H2O")
    heavy.set_array("masses", np.array([16.0, 2.0, 2.0]))
    with pytest.raises(ValueError, match="its masses differ"):
        molecular_dynamics(heavy, EMT(), **again)
    with pytest.raises(ValueError, match="calculator was EMT, now LennardJones"):
        molecular_dynamics(molecule("H2O"), LennardJones(), **again)


def test_resumed_relaxations_compare_structure_and_calculator(tmp_path):
    path = tmp_path / "a.extxyz"
    water = molecule("H2O")
    relax(water, EMT(), steps=2, trajectory=path)
    stretched = water.copy()
    stretched.positions *= 1.1
    with pytest.raises(ValueError, match="another structure"):
        relax(stretched, EMT(), trajectory=path, resume=True)
    with pytest.raises(ValueError, match="calculator was EMT, now LennardJones"):
        relax(water, LennardJones(), trajectory=path, resume=True)


def test_networks_are_told_apart_by_their_weights(tmp_path):
    config = PotentialConfig(elements=(1, 8), channels=4, layers=1)
    one, other = (EquiCalculator(Potential(config), device="cpu") for _ in range(2))
    path = tmp_path / "a.extxyz"
    relax(molecule("H2O"), one, steps=1, trajectory=path)
    with pytest.raises(ValueError, match=f"EquiCalculator {one.digest}, now Equi"):
        relax(molecule("H2O"), other, trajectory=path, resume=True)
    relax(molecule("H2O"), one, steps=1, trajectory=path, resume=True)


def test_what_was_relaxed_first_is_resumed_from_its_input(tmp_path):
    path = tmp_path / "a.extxyz"
    run = {"every": 5, "trajectory": path, "relax_first": True}
    first = molecular_dynamics(molecule("H2O"), EMT(), steps=0, **run)
    bent = first.atoms.get_all_distances() - molecule("H2O").get_all_distances()
    assert abs(bent).max() > 0.01
    whole = molecular_dynamics(molecule("H2O"), EMT(), steps=10, **run)
    molecular_dynamics(molecule("H2O"), EMT(), steps=5, **run)
    resumed = molecular_dynamics(molecule("H2O"), EMT(), steps=10, resume=True, **run)
    assert np.array_equal(whole.atoms.positions, resumed.atoms.positions)


def test_run_killed_before_its_first_frame_begins_anew(tmp_path, read_all):
    path = tmp_path / "a.extxyz"
    path.write_text("")
    molecular_dynamics(molecule("H2O"), EMT(), steps=10, trajectory=path, resume=True)
    assert len(read_all(path)) == 2


def test_a_log_goes_on_after_a_part_without_one(tmp_path):
    options = {"trajectory": tmp_path / "a.extxyz", "every": 5}
    log = tmp_path / "a.csv"
    molecular_dynamics(molecule("H2O"), EMT(), steps=10, log=log, **options)
    options["resume"] = True
    molecular_dynamics(molecule("H2O"), EMT(), steps=20, **options)
    molecular_dynamics(molecule("H2O"), EMT(), steps=30, log=log, **options)
    steps = [line.split(",")[0] for line in log.read_text().splitlines()[1:]]
    assert steps == ["0", "5", "10", "25", "30"]


def test_a_limit_of_the_temperature_is_positive():
    with pytest.raises(ValueError, match="max_temperature must be positive, got 0"):
        molecular_dynamics(molecule("H2O"), EMT(), steps=1, max_temperature=0)
