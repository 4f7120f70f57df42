"""``equicalc relax`` and ``equicalc md``."""

import csv

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import iread, write

from equicalc.simulation import read_log


def frames(path):
    return list(iread(path))


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_relax_takes_files_frames_and_smiles(cli, tmp_path):
    write("two.extxyz", [molecule("H2O"), molecule("NH3")])
    (tmp_path / "many.smi").write_text("# a comment\nC methane\nCO methanol\n")
    out = cli("relax", "two.extxyz", "two.extxyz@-1", "many.smi", "N#N", "-c", "emt")
    names = ["two-0", "two-1", "two", "C", "CO", "N_N"]
    table = rows(tmp_path / "relaxed" / "relaxed.csv")
    assert [row["structure"] for row in table] == names
    assert {row["converged"] for row in table} == {"True"}
    assert all(name in out for name in names)
    final = frames(tmp_path / "relaxed" / "relaxed.extxyz")
    assert [len(atoms) for atoms in final] == [3, 4, 4, 5, 6, 2]
    assert all(abs(atoms.get_forces()).max() < 0.01 for atoms in final)
    assert (tmp_path / "relaxed" / "two-0.steps.extxyz").exists()


def test_relax_keeps_what_is_there(cli, tmp_path):
    cli("relax", "O", "-c", "emt", "--steps", 2)
    assert "--resume goes on with it" in cli("relax", "O", "-c", "emt", code=2)
    cli("relax", "O", "-c", "emt", "--resume")
    (row,) = rows(tmp_path / "relaxed" / "relaxed.csv")
    assert row["converged"] == "True"
    assert int(row["steps"]) > 2
    cli("relax", "O", "-c", "emt", "--overwrite", "--steps", 1)
    assert len(frames(tmp_path / "relaxed" / "O.steps.extxyz")) == 2
    assert "not both" in cli("relax", "O", "--resume", "--overwrite", code=2)


def test_relax_the_cell(cli, tmp_path):
    write("cu.cif", bulk("Cu", a=3.7))
    cli("relax", "cu.cif", "-c", "emt", "--cell", "-o", "out")
    (final,) = frames(tmp_path / "out" / "relaxed.extxyz")
    assert final.get_volume() == pytest.approx(11.6, abs=0.2)
    assert "periodic in three" in cli("relax", "O", "-c", "emt", "--cell", code=2)


def test_one_bad_structure_does_not_stop_the_others(cli, tmp_path):
    write("u.xyz", Atoms("UU", [[0, 0, 0], [0, 0, 2.5]]))
    out = cli("relax", "O", "u.xyz", "C", "-c", "emt", code=1)
    assert "u: No EMT-potential for U" in out
    assert "1 of 3 structures failed" in out
    table = rows(tmp_path / "relaxed" / "relaxed.csv")
    assert [row["structure"] for row in table] == ["O", "C"]


def test_relax_with_a_checkpoint(cli, checkpoint, tmp_path):
    out = cli("relax", "O", "-m", checkpoint, "--steps", 3, "--device", "cpu")
    assert "Relaxed with EquiCalculator" in out
    two = ["-m", checkpoint, "-m", checkpoint]  # a committee
    cli("relax", "O", *two, "--steps", 3, "--device", "cpu", "-o", "mean")
    energies = [
        frames(tmp_path / folder / "relaxed.extxyz")[0].get_potential_energy()
        for folder in ("relaxed", "mean")
    ]
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)


def test_md_writes_as_it_goes_and_is_made_longer(cli, tmp_path):
    options = ["md", "O", "-c", "emt", "--every", 5, "--timestep", 0.5]
    cli(*options, "--time", 0.01)
    log = tmp_path / "md" / "O.md.csv"
    assert read_log(log)["step"][-1] == 20
    cli(*options, "--time", 0.02, "--resume")
    columns = read_log(log)
    assert np.array_equal(columns["step"], np.arange(0, 41, 5))
    assert len(frames(tmp_path / "md" / "O.md.extxyz")) == 9
    (row,) = rows(tmp_path / "md" / "summary.csv")
    assert float(row["time_ps"]) == pytest.approx(0.02)
    assert "exists" in cli(*options, code=2)


def test_md_in_nve_shows_the_drift(cli):
    out = cli("md", "O", "-c", "emt", "--ensemble", "nve", "--time", 0.02)
    assert "drift" in out


def test_md_reports_an_explosion(cli):
    write("hot.xyz", molecule("H2O"))
    options = ["md", "hot.xyz", "-c", "emt", "--timestep", 20, "--time", 10]
    out = cli(*options, code=2)
    assert "error: hot: the structure exploded" in out
