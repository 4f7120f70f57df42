"""``equicalc generate``, ``equicalc complete`` and ``equicalc evaluate-molecules``."""

import json

import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import iread, write

from equicalc import generators
from equicalc.models import Symphony, SymphonyConfig


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Random weights in place of the shipped ones."""
    torch.manual_seed(0)
    config = SymphonyConfig(
        elements=(1, 6, 8), channels=4, layers=1, position_channels=4, max_atoms=5
    )
    builder = generators.Builder(Symphony(config, backend="torch"), "tiny")
    monkeypatch.setattr(generators, "load_builder", lambda *_: builder)


def test_generate_goes_on_where_it_stopped(cli):
    assert "3 molecules made" in cli("generate", "-n", 3, "--seed", 5)
    assert "--resume goes on" in cli("generate", "-n", 5, "--seed", 5, code=2)
    assert "2 molecules made" in cli("generate", "-n", 5, "--seed", 5, "--resume")
    numbers = [a.info["molecule"] for a in iread("molecules.extxyz")]
    assert numbers == [0, 1, 2, 3, 4]
    assert "seed 5, not 6" in cli("generate", "--seed", 6, "--resume", code=2)


def test_no_batch_begins_after_the_time(cli):
    out = cli("generate", "-n", 4, "--time-limit", -1)
    assert "0 molecules made" in out


def test_only_known_formats_are_written(cli):
    assert ".extxyz, .db, .sdf" in cli("generate", "-n", 1, "-o", "a.cif", code=2)


def test_complete_grows_from_named_atoms(cli):
    write("fragment.xyz", Atoms("CO", [[0, 0, 0], [1.4, 0, 0]]))
    cli("complete", "fragment.xyz", "-n", 3, "--grow-from", "1", "-o", "whole.extxyz")
    whole = list(iread("whole.extxyz"))
    assert len(whole) == 3
    for atoms in whole:
        assert atoms.get_chemical_symbols()[:2] == ["C", "O"]
        assert 0 not in atoms.arrays["gen_focus"][2:]
    out = cli("complete", "fragment.xyz", "--grow-from", "1,x", "--overwrite", code=2)
    assert "give indices such as 0,3" in out
    assert "no atom" not in out


def test_evaluation_is_printed_and_written(cli, tmp_path):
    write("set.extxyz", [molecule("CH4"), molecule("CH3"), molecule("C2H4")])
    (tmp_path / "known.smi").write_text("C methane\n")
    out = cli(
        "evaluate-molecules", "set.extxyz", "--known", "known.smi", "--report", "out"
    )
    table = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert table["n_molecules"] == 3
    assert table["novelty"] == 50
    assert "66.67" in out
    assert "83.5" in out  # the paper's column
