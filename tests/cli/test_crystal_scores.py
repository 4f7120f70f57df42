"""``equicalc crystals``: score, relax, embed."""

import csv
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import iread, read, write

from equicalc import simulation
from equicalc.checkpoint import save_checkpoint
from equicalc.cli import crystal_scores
from equicalc.crystals import MolecularCrystal
from equicalc.models import LatticeConfig, LatticeNetwork
from equicalc.pretrained import available

COLUMNS = (
    "file,formula,spacegroup,Z,Z',density_g/cm3,packing,contact_vdW,status,message,"
    "energy_kJ/mol,interaction_kJ/mol,strain_kJ/mol,std_kJ/mol,rank,dE_kJ/mol,key"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = LatticeNetwork(LatticeConfig(elements=(1, 6, 7, 8), members=2))
    path = tmp_path_factory.mktemp("model") / "lattice.safetensors"
    return save_checkpoint(path, network, {"licence": "MIT"})


def table(name):
    with Path(name).open(newline="") as file:
        return list(csv.DictReader(file))


def water(length, group=14):
    pose = [length, 5, 5, 90, 90, 90, 0.1, 0.2, 0.2, 0.2, 0.4, 0.1]
    return MolecularCrystal.from_parameters(molecule("H2O"), group, pose).to_atoms()


def test_disorder_is_seen_where_an_ordered_crystal_was(cli, model):
    write("x.cif", water(7.0))
    score = ["crystals", "score", "x.cif", "-o", "s.csv", "--model", model]
    label = ["crystals", "label", "x.cif", "-m", "lj", "-o", "l.db", "--workers", 1]
    for command in (score, label):
        cli(*command)
    text = Path("x.cif").read_text()
    assert "1.0000" in text
    Path("x.cif").write_text(text.replace("1.0000", "0.5000"))
    for command in ([*score, "--resume"], label):
        assert "sites are disordered" in cli(*command, code=2)


def test_an_occupancy_that_is_no_table_is_left_alone(cli, model):
    ice = water(7.0)
    ice.info["occupancy"] = 1.0
    write("ice.extxyz", ice)
    assert "1 of 1 crystals" in cli("crystals", "score", "ice.extxyz", "--model", model)


def test_score_ranks_and_keeps_bad_files_as_rows(cli, model):
    write("x.extxyz", [water(7.0), water(6.0), water(6.5)])
    write("salt.cif", bulk("NaCl", "rocksalt", a=9.0))
    Path("empty.cif").write_text("")
    files = ["salt.cif", "empty.cif", "x.extxyz"]
    out = cli("crystals", "score", *files, "-m", model, "-o", "s.csv", "--rank", code=2)
    assert "3 of 5 crystals scored: s.csv" in out
    assert "error: salt.cif: " in out
    rows = table("s.csv")
    assert list(rows[0]) == COLUMNS.split(",")
    assert [row["rank"] for row in rows] == ["1", "2", "3", "", ""]
    assert float(rows[0]["dE_kJ/mol"]) == 0 < float(rows[2]["dE_kJ/mol"])
    assert {row["status"] for row in rows[3:]} == {"salt", "unreadable"}
    assert all(row["energy_kJ/mol"] == "" and row["message"] for row in rows[3:])


def test_scores_without_rank_keep_their_order(cli, model):
    write("x.extxyz", [water(7.0), water(6.0)])
    cli("crystals", "score", "x.extxyz", "-m", model)
    rows = table("scores.csv")
    assert [row["file"] for row in rows] == ["x.extxyz@0", "x.extxyz@1"]
    Path("x.extxyz").rename("x.csv")
    assert "x.csv is read" in cli(
        "crystals", "score", "x.csv", "-m", model, "-o", "x.csv", code=2
    )


def test_scores_outlive_a_stop_and_the_others_follow(cli, model, monkeypatch):
    write("x.extxyz", [water(7.0), water(6.0), water(6.5)])
    score = ["crystals", "score", "x.extxyz", "-m", model]
    cli(*score, "-o", "whole.csv")
    monkeypatch.setattr(crystal_scores, "TOGETHER", 1)
    analyse, seen = MolecularCrystal.from_atoms, []

    def stopped(atoms):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(atoms)
        return analyse(atoms)

    monkeypatch.setattr(MolecularCrystal, "from_atoms", stopped)
    cli(*score, code=130)
    assert [row["file"] for row in table("scores.csv")] == ["x.extxyz@0", "x.extxyz@1"]
    seen.pop()
    assert "3 of 3 crystals scored" in cli(*score, "--resume")
    assert len(seen) == 2
    for resumed, row in zip(table("scores.csv"), table("whole.csv"), strict=True):
        energy = pytest.approx(float(row.pop("energy_kJ/mol")), rel=1e-4)
        assert float(resumed.pop("energy_kJ/mol")) == energy
        assert (resumed["file"], resumed["rank"]) == (row["file"], row["rank"])
    Path("scores.csv").write_text("file,status\nx\n")
    assert "is not a table of an earlier call" in cli(*score, "--resume", code=2)


def test_scores_of_other_structures_and_models_are_made_anew(cli, model, tmp_path):
    other = LatticeNetwork(LatticeConfig(elements=(1, 6, 7, 8)))
    file = save_checkpoint(tmp_path / "b.safetensors", other, {"licence": "MIT"})
    write("x.extxyz", [water(7.0)])
    write("y.extxyz", [water(6.0)])
    score = ["crystals", "score", "x.extxyz", "--resume", "-m"]

    def energy(*command):
        cli(*command)
        return float(table("scores.csv")[0]["energy_kJ/mol"])

    first = energy(*score, model)
    assert energy(*score, model) == first
    assert energy(*score, file) != first
    write("x.extxyz", [water(7.5)])
    assert energy(*score, model) not in (first, energy(*score, file))
    # a file given twice counts once, and one that fails counts in its own call
    Path("empty.cif").write_text("")
    cli("crystals", "score", "empty.cif", "--resume", "-m", model, code=2)
    twice = ["y.extxyz", "y.extxyz", "--resume", "-m", model]
    assert "1 of 1 crystals scored" in cli("crystals", "score", *twice)
    assert len(table("scores.csv")) == 3


@pytest.mark.skipif(not available(), reason="no potential is shipped yet")
def test_crystals_that_did_not_converge_are_relaxed_again(cli, model):
    write("x.extxyz", [water(6.0, 1)])
    command = ["crystals", "relax", "x.extxyz", "x.extxyz", "-m", model, "--resume"]
    out = cli(*command, "--steps", 1)
    assert "1 of 1 crystals relaxed" in out
    assert "1 did not converge in 1 steps" in out
    assert "did not converge" not in cli(*command, "--steps", 1)
    assert table("relaxed.csv")[0]["steps"] == "1"
    cli(*command, "--steps", 2)
    (row,) = table("relaxed.csv")
    assert row["steps"] == "2"


@pytest.mark.skipif(not available(), reason="no potential is shipped yet")
def test_strain_is_added_to_scores_without(cli, model):
    write("x.extxyz", [water(7.0)])
    score = ["crystals", "score", "x.extxyz", "-m", model]
    cli(*score)
    assert table("scores.csv")[0]["strain_kJ/mol"] == ""
    cli(*score, "--strain", "--resume")
    (row,) = table("scores.csv")
    assert float(row["strain_kJ/mol"]) > 0


@pytest.mark.skipif(not available(), reason="no potential is shipped yet")
def test_relax_lowers_the_energy(cli, model):
    write("x.extxyz", [water(6.0, 1)])
    write("salt.cif", bulk("NaCl", "rocksalt", a=9.0))
    options = ["-m", model, "--steps", 2, "-o", "r.extxyz"]
    out = cli("crystals", "relax", "x.extxyz", "salt.cif", *options, code=2)
    assert "1 of 2 crystals relaxed: r.extxyz" in out
    relaxed = cast("Atoms", read("r.extxyz"))
    assert not np.allclose(relaxed.cell, water(6.0, 1).cell)
    assert "exists" in cli("crystals", "relax", "x.extxyz", *options, code=2)


@pytest.mark.skipif(not available(), reason="no potential is shipped yet")
def test_relaxed_crystals_outlive_a_stop_and_the_others_follow(cli, model, monkeypatch):
    write("x.extxyz", [water(6.0, 1), water(6.5, 1)])
    Path("r.extxyz").write_text("of an earlier call")
    done = []

    def stopped(*args, **options):
        if done:
            raise KeyboardInterrupt
        done.append(relax(*args, **options))
        return done[0]

    relax = simulation.relax
    monkeypatch.setattr(simulation, "relax", stopped)
    options = ["-m", model, "--steps", 1, "-o", "r.extxyz", "--overwrite"]
    cli("crystals", "relax", "x.extxyz", *options, code=130)
    (kept,) = iread("r.extxyz")
    assert np.allclose(kept.positions, done[0].atoms.positions)
    monkeypatch.setattr(simulation, "relax", relax)
    options[-1] = "--resume"
    out = cli("crystals", "relax", "x.extxyz", *options)
    assert "2 of 2 crystals relaxed" in out
    first, second = iread("r.extxyz")
    assert np.allclose(first.positions, kept.positions)
    assert not np.allclose(second.cell, kept.cell)
    assert [row["file"] for row in table("r.csv")] == ["x.extxyz@0", "x.extxyz@1"]
    # killed after a structure, before its row
    lines = Path("r.csv").read_text().splitlines(keepends=True)
    Path("r.csv").write_text("".join(lines[:2]))
    cli("crystals", "relax", "x.extxyz", *options)
    assert len(list(iread("r.extxyz"))) == len(table("r.csv")) == 2


def test_mistakes_are_found_before_any_crystal(cli, model):
    write("x.extxyz", [water(6.0, 1)])
    given = ["crystals", "relax", "x.extxyz", "-m", model]
    for name in ("r.csv", "r.cif"):
        assert "ends in .extxyz or .xyz" in cli(*given, "-o", name, code=2)
    for fmax in (-1, "nan"):
        out = cli(*given, "--fmax", fmax, code=2)
        assert out.startswith("error: fmax must be")
    score = ["crystals", "score", "x.extxyz", "-m", model, "-o", "s.txt"]
    assert "ends in .csv" in cli(*score, code=2)
    assert [path.name for path in Path().iterdir()] == ["x.extxyz"]


@pytest.mark.skipif(not available(), reason="no potential is shipped yet")
def test_relaxed_crystals_are_not_replaced_by_those_of_other_settings(cli, model):
    write("x.extxyz", [water(6.0, 1)])
    given = ["crystals", "relax", "x.extxyz", "-m", model, "--steps", 1, "--resume"]
    cli(*given)
    before = Path("relaxed.extxyz").read_text()
    for option, there in (
        (["--fmax", "0.01"], "fmax 0.01, cell free"),
        (["--fixed-cell"], "fmax 0.05, cell fixed"),
    ):
        out = " ".join(cli(*given, *option, code=2).split())
        assert "relaxed.csv cannot be resumed" in out
        assert "fmax 0.05, cell free, this call has" in out
        assert there in out
    assert Path("relaxed.extxyz").read_text() == before
    given[-1] = "--overwrite"
    cli(*given, "--fixed-cell")
    assert Path("relaxed.extxyz").read_text() != before


def test_files_that_do_not_exist_are_not_named(cli, model):
    write("salt.cif", bulk("NaCl", "rocksalt", a=9.0))
    out = cli("crystals", "relax", "salt.cif", "-m", model, code=2)
    assert "0 of 1 crystals relaxed\n" in out
    assert "0 of 1 crystals embedded\n" in cli("crystals", "embed", "salt.cif", code=2)


@pytest.mark.parametrize(("name", "k", "m"), [("none", 0, 0), ("axes", 3, 3)])
def test_embed(cli, name, k, m):
    write("x.extxyz", [water(7.0), water(6.0)])
    cli("crystals", "embed", "x.extxyz", "--embedding", name, "-o", "e.npz")
    with np.load("e.npz") as found:
        assert found["parameters"].shape == (2, 12)
        assert found["vectors"].shape == (2, 3, k)
        assert found["scalars"].shape == (2, m)
        assert found["names"].tolist() == ["x.extxyz@0", "x.extxyz@1"]


def test_embeddings_are_a_table_too(cli):
    write("x.extxyz", [water(7.0), water(6.0)])
    options = ["crystals", "embed", "x.extxyz", "--embedding", "axes"]
    cli(*options, "-o", "e.npz")
    assert "2 of 2 crystals embedded: e.csv" in cli(*options, "-o", "e.csv")
    rows = table("e.csv")
    assert [row["file"] for row in rows] == ["x.extxyz@0", "x.extxyz@1"]
    with np.load("e.npz") as arrays:
        assert float(rows[1]["parameters_0"]) == arrays["parameters"][1, 0]
        assert float(rows[1]["vectors_2_1"]) == arrays["vectors"][1, 2, 1]
    assert "ends in .npz or .csv" in cli(*options, "-o", "e.txt", code=2)


def test_tables_are_kept(cli, model):
    write("x.extxyz", [water(7.0)])
    score = ["crystals", "score", "x.extxyz", "-m", model]
    embed = ["crystals", "embed", "x.extxyz", "--embedding", "none"]
    for command, way_on in ((score, "--resume goes on with it, "), (embed, "")):
        cli(*command)
        assert f"exists: {way_on}--overwrite replaces it" in cli(*command, code=2)
        cli(*command, "--overwrite")


def test_embeddings_that_do_not_exist(cli):
    assert "embedding 'x' is unknown" in cli(
        "crystals", "embed", "x.cif", "--embedding", "x", code=2
    )
