"""Bad input ends in one clear line and exit code 2."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.io import write

from equicalc.cli.errors import exit_code, message_of
from equicalc.simulation import SimulationError


def only_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, text
    assert lines[0].startswith("error: ")
    return lines[0]


def fail(cli, *arguments):
    return only_line(cli(*arguments, code=2))


@pytest.mark.parametrize("command", ["relax", "md"])
def test_neither_file_nor_smiles(cli, command):
    out = fail(cli, command, "CCX", "-c", "emt")
    assert "'CCX' is neither a file that exists nor a valid SMILES" in out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xyz", "", "cannot read a structure from a.xyz"),
        ("a.xyz", "3\n\nO 0 0 0\n", "cannot read a structure from a.xyz"),
        ("a.xyz", "0\n\n", "holds no atoms"),
        ("a.cif", "not a cif", "a.cif"),
        ("a.nonsense", "what is this", "cannot read a structure from a.nonsense"),
        ("a.smi", "# nothing\n", "a.smi holds no SMILES"),
        ("a.smi", "C1CC\n", "a.smi:1: 'C1CC' is not a valid SMILES"),
    ],
)
def test_unusable_files(cli, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    assert message in fail(cli, "relax", name, "-c", "emt")


def test_frames_that_are_not_there(cli):
    write("water.xyz", molecule("H2O"))
    assert "index 7 selects nothing" in fail(cli, "relax", "water.xyz@7")
    assert "index 5:2 selects nothing" in fail(cli, "relax", "water.xyz@5:2")
    Path("list.smi").write_text("C\n")
    assert "index 1 selects nothing" in fail(cli, "relax", "list.smi@1")


def test_refused_runs_leave_no_folder(cli, tmp_path):
    fail(cli, "relax", "O", "-c", "emtt", "-o", "a/b")
    fail(cli, "md", "O", "-c", "emt", "--ensemble", "x", "-o", "c")
    assert not list(tmp_path.iterdir())


def test_positions_that_are_not_finite(cli):
    water = molecule("H2O")
    water.positions[2, 1] = np.nan
    write("w.xyz", water)
    assert "atom 2 (H)" in fail(cli, "relax", "w.xyz", "-c", "emt")


def test_unknown_element_is_named(cli, checkpoint):
    out = fail(cli, "relax", "C", "-m", checkpoint, "--device", "cpu")
    assert "element C" in out
    assert "knows H, O" in out


def test_overlapping_atoms(cli, checkpoint):
    water = molecule("H2O")
    water.positions[1] = water.positions[2]
    write("w.xyz", water)
    options = ["-m", checkpoint, "--device", "cpu"]
    assert "overlap" in fail(cli, "relax", "w.xyz", *options)


def test_unknown_names(cli, tmp_path):
    assert "calculator 'emtt'" in fail(cli, "relax", "O", "-c", "emtt")
    assert "no shipped model" in fail(cli, "relax", "O", "-m", "nothing")
    assert "unknown optimizer" in fail(
        cli, "relax", "O", "-c", "emt", "--optimizer", "newton"
    )
    assert "unknown ensemble" in fail(cli, "md", "O", "-c", "emt", "--ensemble", "x")
    assert "no run of" in fail(cli, "md", "O", "-c", "emt", "--timestep", 0)
    assert "no run of" in fail(cli, "md", "O", "-c", "emt", "--time", "inf")
    assert "temperature must be" in fail(cli, "md", "O", "-c", "emt", "-T", "nan")


def test_model_and_calculator(cli):
    assert "not both" in fail(cli, "relax", "O", "-m", "a", "-c", "emt")


def test_truncated_checkpoint(cli, checkpoint, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(checkpoint.read_bytes()[:300])
    assert "cut.safetensors" in fail(cli, "relax", "O", "-m", "cut.safetensors")
    assert "cut.safetensors" in fail(cli, "models", "cut.safetensors")


def test_folder_that_cannot_be_written(cli, tmp_path):
    (tmp_path / "file").write_text("")
    out = fail(cli, "relax", "O", "-c", "emt", "-o", "file")
    assert "cannot write to the folder file" in out
    assert "--output" in out


def test_missing_extra_says_what_to_install(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    monkeypatch.setitem(sys.modules, "tblite", None)
    assert 'pip install "equicalc[label]"' in fail(cli, "relax", "O", "-c", "gfn2")


def test_unknown_configuration_keys(cli, tmp_path):
    (tmp_path / "c.yaml").write_text("output: run\ndata: {trian: x}\n")
    out = cli("train", "c.yaml", code=2)
    assert "data.trian: unknown key; did you mean 'train'?" in out
    (tmp_path / "l.yaml").write_text("out: x\nsourcs: []\n")
    assert "sourcs" in cli("label", "l.yaml", code=2)


def test_missing_files(cli, tmp_path):
    assert "c.yaml" in fail(cli, "train", "c.yaml")
    assert "no.extxyz" in cli("label", "no.extxyz", code=2)
    (tmp_path / "l.yaml").write_text("out: x\nsources: [{path: no.smi}]\n")
    assert "no.smi is no file" in cli("label", "l.yaml", code=2)
    (tmp_path / "l.yaml").write_text("out: x\nsources: no.smi\n")
    assert "sources: input should be a list" in cli("label", "l.yaml", code=2)


def test_folders_in_the_place_of_files(cli, tmp_path):
    (tmp_path / "cifs").mkdir()
    out = cli("crystals", "score", "cifs", code=2)
    assert "it is a folder: name the files in it" in out


def test_debug_shows_the_traceback(cli):
    with pytest.raises(AssertionError, match="assert 1 == 2"):  # raised, not caught
        cli("relax", "CCX", "-c", "emt", "--debug", code=2)


def test_errors_of_ours_ask_for_debug():
    for error in (TypeError("x"), RuntimeError("shapes"), torch.OutOfMemoryError("x")):
        assert message_of(error).endswith("--debug shows where)")
        assert exit_code(error) == 1


def test_errors_with_a_name_are_for_the_user():
    for error in (InputError("x"), SimulationError("x"), NotImplementedError("No U")):
        assert message_of(error) == str(error)
        assert exit_code(error) == 2


@pytest.mark.parametrize("structures", [["O"], ["O", "C"]])
def test_errors_of_ours_count_most(cli, monkeypatch, structures):
    from equicalc import simulation

    def fails(atoms, *_, **__):
        raise RuntimeError("shapes") if len(atoms) == 3 else ValueError("no")

    monkeypatch.setattr(simulation, "relax", fails)
    out = cli("relax", *structures, "-c", "emt", code=1)
    assert "shapes (an error of equicalc" in out


def test_interruption_is_not_a_traceback(cli, monkeypatch):
    from equicalc import simulation

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(simulation, "relax", interrupted)
    assert "interrupted" in cli("relax", "O", "-c", "emt", code=130)


def test_start_is_light():
    """``equicalc --help`` loads nothing heavy."""
    code = (
        "import sys, equicalc.cli\n"
        "heavy = {'torch', 'ase', 'numpy', 'rdkit', 'lightning', 'pydantic'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "set()"


def test_the_help_says_where_an_index_works(cli):
    help_text = " ".join(cli("--help").split())
    takes, _, rest = help_text.partition(" take an index, too")
    assert takes.endswith("relax, md, predict, embed, analyze, complete and crystals")
    assert "label, train, evaluate, prune) read whole files" in rest
    assert "label only lists those that it made in vain" in rest
