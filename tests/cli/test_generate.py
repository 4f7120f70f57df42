"""``equicalc generate``, ``equicalc complete`` and ``equicalc evaluate-molecules``."""

import json
from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import iread, write

from equicalc import generators
from equicalc.data import write_packed
from equicalc.generators import filtering
from equicalc.generators.builder import load_builder
from equicalc.generators.metrics import Statistics
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


def test_folders_are_made(cli):
    cli("generate", "-n", 1, "-o", "new/folder/m.extxyz")
    assert len(list(iread("new/folder/m.extxyz"))) == 1


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
    out = cli("complete", "fragment.xyz", "--grow-from", "2", "--overwrite", code=2)
    assert "the fragment has atoms 0 to 1" in out


def test_complete_takes_hydrogens_off(cli):
    write("water.xyz", molecule("H2O"))
    cli("complete", "water.xyz", "-n", 2, "--bare", "-o", "whole.extxyz")
    for atoms in iread("whole.extxyz"):
        assert (atoms.positions[0] == molecule("H2O").positions[0]).all()
        assert (atoms.arrays["gen_focus"][1:] >= 0).all()
        assert "hydrogens anew" in atoms.info["rules"]
    write("h2.xyz", molecule("H2"))
    out = cli("complete", "h2.xyz", "--bare", "--overwrite", code=2)
    assert "hydrogens only" in out


def test_rules_are_kept(cli):
    out = cli("generate", "-n", 2, "--formula", "CH4", "--clash", 1.2, "--valence")
    assert "2 of 2 in molecules.extxyz" in out
    for atoms in iread("molecules.extxyz"):
        assert atoms.get_chemical_formula() == "CH4" or not atoms.info["complete"]
    assert "unknown to this" in cli(
        "generate", "--elements", "Xe,H", "-o", "a.db", code=2
    )
    assert "too many hydrogens" in cli(
        "generate", "--formula", "CH6O", "-o", "b.db", code=2
    )


def test_an_environment_is_read(cli):
    write("fragment.xyz", Atoms("CO", [[0, 0, 0], [1.4, 0, 0]]))
    write("wall.xyz", Atoms("Ar", [[0, 0, 1.5]]))
    cli("complete", "fragment.xyz", "-n", 2, "--environment", "wall.xyz")
    for atoms in iread("completed.extxyz"):
        assert "Ar" not in atoms.symbols
        assert (abs(atoms.positions[2:] - [0, 0, 1.5]) ** 2).sum(1).min(initial=9) > 4


def test_a_file_is_continued_by_the_same_request_only(cli):
    cli("generate", "-n", 2, "--elements", "O,C,H", "--clash", 1.2)
    asked = ("generate", "-n", 3, "--resume", "--clash")
    assert "1 molecules made" in cli(*asked, 1.2, "--elements", "H,C,O")
    valence = "valence of closed shells and flat double bonds"
    out = cli(*asked, 1.3, "--elements", "H,C,O", code=2)
    assert f"rules {valence}, clash 1.2, elements C H O, retreats 6, not" in out
    assert f"not {valence}, clash 1.2, retreats 6:" in cli(*asked, 1.2, code=2)
    assert "valid_only False, not True" in cli(
        *asked, 1.2, "--elements", "H,C,O", "--valid-only", code=2
    )


@pytest.mark.parametrize("suffix", ["extxyz", "db"])
def test_completions_are_continued_from_the_same_fragment_only(cli, suffix):
    fragment = Atoms("CO", [[0, 0, 0], [1.4, 0, 0]])
    wall = Atoms("Ar", [[0, 0, 3]])
    write("fragment.xyz", fragment)
    write("wall.xyz", wall)
    to = ("-o", f"whole.{suffix}")
    known = ("--grow-from", "-1", "--environment", "wall.xyz")
    cli("complete", "fragment.xyz", "-n", 1, *to, *known)
    again = ("-n", 2, "--resume", *to)
    cli("complete", "fragment.xyz", *again, "--grow-from", "1", *known[2:])
    wall.positions += 0.1
    write("other.xyz", wall)
    out = cli(
        "complete", "fragment.xyz", *again, *known[:2], "--environment", "other.xyz",
        code=2,
    )  # fmt: skip
    assert "environment Ar" in out
    out = cli("complete", "fragment.xyz", *again, *known[2:], code=2)
    assert "grow from 1, not" in out
    fragment.positions[1, 0] += 0.01
    write("other.xyz", fragment)
    out = cli("complete", "other.xyz", *again, *known, code=2)
    assert "has grown from CO, not from CO at these positions" in out
    assert "grown from CO, not from nothing" in cli("generate", *again, code=2)


def test_molecules_of_other_weights_are_not_added(cli, monkeypatch):
    builder = generators.load_builder("tiny")
    for weights in ("sha256 1", "sha256 2"):
        named = generators.Builder(builder.model, "tiny", weights)
        monkeypatch.setattr(generators, "load_builder", lambda *_, b=named: b)
        out = cli("generate", "-n", 2, "--resume", code=2 * (weights == "sha256 2"))
    assert "weights sha256 1, not sha256 2" in out


def test_valid_ones_are_counted_and_continued(cli, monkeypatch):
    monkeypatch.setattr(
        filtering, "valid_molecule", lambda a: a if len(a) > 3 else None
    )
    options = ("generate", "--valid-only", "--batch-size", 4)
    assert "3 of 3 in" in cli(*options, "-n", 3)
    first = [atoms.info["molecule"] for atoms in iread("molecules.extxyz")]
    assert "6 of 6 in" in cli(*options, "-n", 6, "--resume")
    cli(*options, "-n", 6, "-o", "whole.extxyz")
    numbers = [atoms.info["molecule"] for atoms in iread("whole.extxyz")]
    assert numbers[:3] == first
    assert numbers == [atoms.info["molecule"] for atoms in iread("molecules.extxyz")]


def test_a_run_killed_within_a_molecule_is_continued(cli):
    cli("generate", "-n", 3)
    path = Path("molecules.extxyz")
    whole = list(iread(path))
    path.write_text(path.read_text()[:-20])
    assert "1 molecules made" in cli("generate", "-n", 3, "--resume")
    for before, after in zip(whole, iread(path), strict=True):
        assert before.info["molecule"] == after.info["molecule"]
        assert before.get_chemical_formula() == after.get_chemical_formula()


def test_an_sdf_has_bonds(cli):
    from rdkit import Chem

    out = cli("generate", "-n", 4, "--valid-only", "-o", "mols.sdf", "--seed", 3)
    found = list(Chem.SDMolSupplier("mols.sdf", removeHs=False))
    assert "4 of 4" in out
    assert len(found) == 4
    assert all(m.GetNumBonds() for m in found if m.GetNumAtoms() > 1)
    assert found[0].GetProp("seed") == "3"


def test_an_sdf_counts_what_it_has(cli):
    from rdkit import Chem

    out = cli("generate", "-n", 8, "--no-valence", "-o", "mols.sdf", "--seed", 3)
    found = len(Chem.SDMolSupplier("mols.sdf", removeHs=False))
    assert found < 8
    assert f"{found} of 8 in mols.sdf" in out
    assert f"{8 - found} without valid bonds left out" in out
    again = cli("generate", "-n", 9, "-o", "mols.sdf", code=2)
    assert "--overwrite" in again
    assert "--resume" not in again


def test_damaged_weights_are_refused(cli, monkeypatch):
    monkeypatch.setattr(generators, "load_builder", load_builder)
    Path("broken.safetensors").write_bytes(b"not weights")
    out = cli("generate", "-n", 1, "-m", "broken.safetensors", code=2)
    assert "not a whole safetensors file" in out


def test_evaluation_is_printed_and_written(cli, tmp_path):
    write("set.extxyz", [molecule("CH4"), molecule("CH3"), molecule("C2H4")])
    write("other.extxyz", [molecule("C2H6"), molecule("H2O")])
    (tmp_path / "known.smi").write_text("C methane\n")
    out = cli(
        "evaluate-molecules",
        *("set.extxyz", "other.extxyz", "--known", "known.smi", "--report", "out"),
    )
    tables = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert tables["set"]["n_molecules"] == 3
    assert tables["set"]["novelty"] == 50
    assert "66.67" in out
    assert "83.5" in out  # the paper's column
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| xyz2mol validity | 66.67 | 100.00 | 99.99 | 83.50 |" in page
    assert "rdkit" in page
    for name in ("distributions", "molecules", "frontier"):
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 1000
    assert "does not exist" in cli("evaluate-molecules", "nothing.extxyz", code=2)
    write("odd.extxyz", [molecule("CH4"), molecule("CH3SH")])
    out = cli("evaluate-molecules", "odd.extxyz", code=2)
    assert "odd.extxyz: structure 1, CH4S, has S" in out


def test_a_training_set_of_your_own_is_compared_with(cli):
    names = ("CH4", "C2H6", "CH3CH2OH", "C6H6")
    records = [{"z": a.numbers, "pos": a.positions} for a in map(molecule, names)]
    write_packed(Path("data"), records)
    write("set.extxyz", [molecule("CH4"), molecule("C2H4")])
    out = cli(
        "evaluate-molecules", "set.extxyz", "--reference", "data", "--known", "data"
    )
    assert "50.00" in out  # the novelty
    kept = Path("data/molecule_statistics.npz")
    assert Statistics.load(kept).n_molecules == 4
    kept.write_bytes(b"cut")
    again = cli("evaluate-molecules", "set.extxyz", "--reference", "data", code=2)
    assert "molecule_statistics.npz is missing, cut short" in again


def test_temperatures_are_compared(cli):
    cli(
        "ablate",
        *("temperature", "-n", 2, "--focus", "1", "--position", "0.3,1"),
        *("-o", "t.csv"),
    )
    assert "validity" in Path("t.csv").read_text()
    assert len(Path("t.csv").read_text().splitlines()) == 3
    assert "give numbers" in cli("ablate", "temperature", "--focus", "x", code=2)


def test_grids_are_compared(cli):
    cli("ablate", "grid", "-n", 2, "--rings", "4,8", "-o", "g.csv")
    assert Path("g.csv").read_text().splitlines()[0].startswith("rings,validity")
