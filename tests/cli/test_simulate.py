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


def test_resuming_keeps_what_other_calls_left(cli, tmp_path):
    options = ["-c", "lj", "--steps", 1]
    cli("relax", "F", "CO", *options)  # F would come back from a file as False
    before = frames(tmp_path / "relaxed" / "relaxed.extxyz")
    cli("relax", "O", "CO", *options, "--resume")
    table = rows(tmp_path / "relaxed" / "relaxed.csv")
    assert [row["structure"] for row in table] == ["F", "CO", "O"]
    after = frames(tmp_path / "relaxed" / "relaxed.extxyz")
    assert [len(atoms) for atoms in after] == [2, 6, 3]
    assert np.array_equal(after[0].positions, before[0].positions)
    assert after[0].get_potential_energy() == before[0].get_potential_energy()


def test_results_survive_a_call_that_fails(cli, tmp_path):
    cli("relax", "O", "-c", "emt", "--fmax", 0.1)
    files = [tmp_path / "relaxed" / f"relaxed.{s}" for s in ("extxyz", "csv")]
    before = [file.read_bytes() for file in files]
    write("u.xyz", Atoms("UU", [[0, 0, 0], [0, 0, 2.5]]))
    for how in ("--resume", "--overwrite"):
        assert "No EMT" in cli("relax", "u.xyz", "-c", "emt", how, code=2)
        assert [file.read_bytes() for file in files] == before


def test_tables_of_dynamics_are_kept_too(cli, tmp_path):
    for smiles in ("O", "C"):
        cli("md", smiles, "-c", "emt", "--time", 0.001)
    table = rows(tmp_path / "md" / "summary.csv")
    assert [row["structure"] for row in table] == ["O", "C"]


def test_structures_that_did_not_converge_are_named_but_no_error(cli):
    out = cli("relax", "O", "CO", "-c", "emt", "--steps", 1)
    assert "2 of 2 structures did not converge in 1 steps" in out


def test_files_that_are_read_are_not_written(cli, tmp_path):
    write("O.md.extxyz", molecule("H2O"))
    (tmp_path / "x.steps.extxyz").symlink_to("x.xyz")
    write("x.xyz", molecule("H2O"))
    out = cli("relax", "x.xyz", "-c", "emt", "-o", ".", "--overwrite", code=2)
    assert "is read and would be written" in out


def test_names_differ_by_more_than_capitals(cli, tmp_path):
    cli("relax", "C1CCCCC1", "c1ccccc1", "-c", "lj", "--steps", 0)
    names = {file.name.lower() for file in (tmp_path / "relaxed").glob("*.extxyz")}
    assert names >= {"c1ccccc1.steps.extxyz", "c1ccccc1-2.steps.extxyz"}


def test_long_smiles_and_folders_that_look_like_smiles(cli, tmp_path):
    (tmp_path / "CO").mkdir()
    out = cli("relax", "CO", "-c", "emt", "--steps", 0)
    assert "CH4O" in out
    nonsense = "C" * 300 + "X"
    assert "nor a valid SMILES" in cli("relax", nonsense, "-c", "emt", code=2)
    assert "nor a valid SMILES" in cli("label", nonsense, code=2)


def test_a_bad_line_of_a_file_of_smiles_is_named_and_passed_over(cli, tmp_path):
    (tmp_path / "A.SMI").write_text("# two\nO water\nC1CC\n")
    out = cli("relax", "A.SMI", "-c", "emt", "--steps", 0, code=2)
    assert "A.SMI:3: 'C1CC' is not a valid SMILES" in out
    assert "1 of 2 structures failed" in out
    (row,) = rows(tmp_path / "relaxed" / "relaxed.csv")
    assert row["structure"] == "O"


def test_names_are_whole_in_a_narrow_table(cli, monkeypatch, capsys):
    from rich.console import Console

    from equicalc.cli import console

    monkeypatch.setattr(console, "stdout", Console(width=80))
    row: dict[str, object] = {
        "structure": "a_rather_long_name_of_a_file_that_someone_has",
        "n": 1,
    }
    more: dict[str, object] = {f"energy{i}_eV": -1234.5678 for i in range(4)}
    console.print_table("Relaxed", [row | {"converged": True} | more])
    out = capsys.readouterr().out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_rows_of_a_table_need_not_have_the_same_columns(monkeypatch, capsys):
    from rich.console import Console

    from equicalc.cli import console

    monkeypatch.setattr(console, "stdout", Console(width=80))
    console.print_table("T", [{"a": "x", "b": ""}, {"a": "y", "c": 3}])
    _, _, header, _, first, second, _ = capsys.readouterr().out.splitlines()
    assert header.split() == ["a", "c"]
    assert (first.split(), second.split()) == (["x"], ["y", "3"])


def test_relax_the_cell(cli, tmp_path):
    write("cu.cif", bulk("Cu", a=3.7))
    cli("relax", "cu.cif", "-c", "emt", "--cell", "-o", "out")
    (final,) = frames(tmp_path / "out" / "relaxed.extxyz")
    assert final.get_volume() == pytest.approx(11.6, abs=0.2)
    assert "periodic in three" in cli("relax", "O", "-c", "emt", "--cell", code=2)


def test_one_bad_structure_does_not_stop_the_others(cli, tmp_path):
    write("u.xyz", Atoms("UU", [[0, 0, 0], [0, 0, 2.5]]))
    out = cli("relax", "O", "u.xyz", "C", "-c", "emt", code=2)
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


def test_options_of_dynamics_that_contradict_each_other_are_refused(cli):
    short = ["md", "O", "-c", "emt", "--time", 0.01]
    assert "less than one step" in cli(*short, "--timestep", 50, code=2)
    assert "--ensemble npt" in cli(*short, "--pressure", 1, code=2)


def test_deuterium_and_unknown_formats_are_named(cli, tmp_path):
    (tmp_path / "d2o.xyz").write_text("3\n\nO 0 0 0\nD 1 0 0\nD 0 1 0\n")
    (tmp_path / "a.foo").write_text("hello")
    assert "D is no element that ASE knows: write H" in cli("relax", "d2o.xyz", code=2)
    assert "a format that ASE knows" in cli("relax", "a.foo", code=2)


def test_md_reports_an_explosion(cli):
    write("hot.xyz", molecule("H2O"))
    options = ["md", "hot.xyz", "-c", "emt", "--timestep", 20, "--time", 10]
    out = cli(*options, code=2)
    assert "error: hot: the structure exploded" in out
