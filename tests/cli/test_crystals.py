"""``equicalc crystals``: build, label, benchmark."""

import json
from pathlib import Path
from typing import cast

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write

from equicalc.crystals import MolecularCrystal, packing


def water(length):
    pose = [length, 5, 5, 90, 90, 90, 0, 0, 0, 0.2, 0.4, 0.1]
    return MolecularCrystal.from_parameters(molecule("H2O"), 1, pose).to_atoms()


def test_build_and_label(cli):
    out = cli("crystals", "build", "O", "-g", 4, "-n", 3, "-o", "x.extxyz")
    assert "3 crystals: x.extxyz" in out
    frames = cast("list[Atoms]", read("x.extxyz", ":"))
    assert [len(frame) for frame in frames] == [6, 6, 6]
    assert frames[0].info["pair_energy"] <= frames[2].info["pair_energy"]
    assert "exists" in cli("crystals", "build", "O", "-o", "x.extxyz", code=2)
    out = cli("crystals", "label", "x.extxyz", "-m", "lj", "--workers", 1)
    assert "3 of 3 crystals labelled" in out


def test_labels_train_a_predictor_that_scores(cli):
    write("x.extxyz", [water(length) for length in (4.6, 4.8, 5.0, 5.4, 6, 7)])
    cli("crystals", "label", "x.extxyz", "-m", "lj", "-o", "l.db", "--workers", 1)
    Path("run.yaml").write_text(
        "task: lattice\noutput: run\nmodel: {channels: 8, vectors: 2}\n"
        "data: {train: l.db, fractions: {train: 0.5, valid: 0.5}}\n"
        "stop: {max_steps: 2}\ntrainer: {threads: 1, progress: false}\n"
    )
    assert "Errors on the valid" in cli("train", "run.yaml")
    model = "run/best.safetensors"
    out = cli("crystals", "score", "x.extxyz", "-o", "s.csv", "--model", model)
    assert "6 of 6 crystals scored" in out


@pytest.mark.parametrize("name", ["x.extxyz", "x.cif", "x.db", "x.traj"])
def test_crystals_built_so_far_outlive_a_stop(cli, monkeypatch, name):
    starts, calls = packing.random_starts, []

    def stopped(*args):
        if calls:
            raise KeyboardInterrupt
        calls.append(args)
        return starts(*args)

    monkeypatch.setattr(packing, "random_starts", stopped)
    cli("crystals", "build", "O", "-g", 1, "-n", 100, "-o", name, code=130)
    frames = cast("list[Atoms]", read(name, ":"))
    assert 1 < len(frames) < 100
    assert all(frame.get_chemical_formula() == "H2O" for frame in frames)


def test_bad_crystals_are_rows_and_exit_code_2(cli):
    write("salt.cif", bulk("NaCl", "rocksalt", a=9.0))
    write("good.cif", water(5.0))
    options = ["-m", "lj", "--workers", 1]
    out = cli("crystals", "label", "salt.cif", "good.cif", *options, code=2)
    assert "1 of 2 crystals labelled" in out
    assert "error: salt.cif: " in out
    assert "(salt)" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "CCX"], "neither a file that exists nor a valid SMILES"),
        (["build", "O", "-g", 231], "space group 231"),
        (["build", "O", "--potential", "morse"], "potential 'morse' is unknown"),
        (["build", "O", "-o", "x.foo"], "ASE writes no such format"),
        (["label", "x.cif", "-m", "nothing"], "method 'nothing' is unknown; give lj"),
        (["label", "x.cif", "-o", "x.csv"], "give a name that ends in .db"),
        (["label", "x.cif", "--relax", "cell"], "none, molecule or both"),
        (["benchmark", "x24", "."], "benchmark 'x24' is unknown"),
        (["benchmark", "x23", "."], "needs x23_structures.extxyz"),
    ],
)
def test_errors_are_one_line(cli, arguments, message):
    assert message in cli("crystals", *arguments, code=2)


def test_benchmark(cli, tmp_path):
    pytest.importorskip("matplotlib")
    frames, references = [], {}
    for name, length in (("near", 5.0), ("far", 6.0)):
        solid, gas = water(length), molecule("H2O", vacuum=9, pbc=True)
        for phase, atoms in (("solid", solid), ("molecule", gas)):
            atoms.info = {"system": name, "phase": phase, "source": "mace_tests_POSCAR"}
            frames.append(atoms)
        references[name] = {
            "E_latt_DMC_kJmol": -10.0,
            "E_latt_DMC_err": 1.0,
            "E_latt_X23b_kJmol": -12.0,
        }
    write("x23_structures.extxyz", frames)
    (tmp_path / "x23_reference.json").write_text(json.dumps(references))
    out = cli("crystals", "benchmark", "x23", ".", "-m", "lj", "-o", "out")
    assert "2.0000" in out  # the experiment's mean absolute error
    assert (tmp_path / "out" / "x23.png").stat().st_size > 0
    lines = (tmp_path / "out" / "x23.csv").read_text().splitlines()
    assert lines[0] == "crystal,DMC,experiment,lj,message"
    assert len(lines) == 3
