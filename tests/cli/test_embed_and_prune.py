"""``equicalc embed``, ``analyze`` and ``prune`` on a user's file."""

import csv
import json

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from equicalc.checkpoint import save_checkpoint
from equicalc.data import pack, read_structures
from equicalc.models import Potential, PotentialConfig


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    config = PotentialConfig(elements=(1, 6, 8), channels=4, layers=2)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    return save_checkpoint(path, Potential(config), {"licence": "MIT"})


@pytest.fixture
def molecules(tmp_path):
    names = ("H2O", "CH4", "CH3OH", "C2H6", "H2CO", "CO2", "CH3CHO", "C2H4")
    write(tmp_path / "m.extxyz", [molecule(name) for name in names])
    return "m.extxyz"


@pytest.mark.parametrize("command", ["embed", "prune", "analyze irreps", "analyze map"])
def test_help_teaches_by_example(cli, command):
    out = cli(*command.split(), "--help")
    assert "Examples" in out
    assert f"equicalc {command}" in out


def test_embed_writes_arrays_and_tables(cli, tmp_path, network, molecules):
    out = cli("embed", molecules, "-m", network, "--device", "cpu")
    assert "8 structures, atoms as 8x0e+8x1o+4x2e" in out
    with np.load(tmp_path / "embedding.npz") as file:
        assert file["1o"].shape == (42, 8, 3)
        assert file["name"][0] == "m-0"
    options = ["--level", "molecule", "--invariants", "-o", "table.csv"]
    cli("embed", molecules, "-m", network, "--device", "cpu", *options)
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == 9
    assert rows[0][:3] == ["name", "structure", "0e_0"]


def test_networks_of_whole_molecules_have_rows_of_molecules(cli, tmp_path, molecules):
    out = cli("embed", molecules, "-m", "mo3enet", "--device", "cpu")
    assert "8 structures, molecules as 64x1o" in out
    with np.load(tmp_path / "embedding.npz") as file:
        assert file["1o"].shape == (8, 64, 3)
    atoms = ["embed", molecules, "-m", "mo3enet", "--level", "atom", "--overwrite"]
    assert "describes whole molecules" in cli(*atoms, code=2)


def test_embed_keeps_files_and_names_mistakes(cli, network, molecules):
    cli("embed", molecules, "-m", network, "--device", "cpu")
    assert "--overwrite" in cli("embed", molecules, "-m", network, code=2)
    assert "ends in .npz or .csv" in cli("embed", molecules, "-o", "e.txt", code=2)
    bad = ["embed", molecules, "-o", "f.npz", "-m", network, "--level", "crystal"]
    assert "give 'atom' or 'molecule'" in cli(*bad, code=2)


def test_embed_goes_on_past_what_cannot_be_embedded(cli, tmp_path, network):
    ion = molecule("CH4")
    ion.info["charge"] = -1
    write(tmp_path / "m.extxyz", [molecule("H2O"), molecule("HCl"), ion])
    (tmp_path / "list.smi").write_text("O\nnonsense\nCO\n")
    given = ["embed", "m.extxyz", "list.smi", "-m", network, "--device", "cpu"]
    out = cli(*given, "--level", "molecule", code=2)
    assert "m-1: element Cl" in out
    assert "m-2: the structure has charge -1" in out
    assert "list.smi:2: 'nonsense' is not a valid SMILES" in out
    assert "3 structures, molecules as" in out
    assert "3 of 6 structures failed" in out
    with np.load(tmp_path / "embedding.npz") as file:
        assert file["name"].tolist() == ["m-0", "O", "CO"]
        assert len(file["0e"]) == 3


def test_embed_leaves_nothing_of_what_cannot_be_embedded(cli, tmp_path, network):
    given = ["embed", "Cl", "-m", network, "--device", "cpu", "-o", "out/e.npz"]
    assert "1 of 1 structures failed" in cli(*given, code=2)
    assert not (tmp_path / "out").exists()


def test_pooling_is_refused_where_it_does_nothing(cli, network, molecules):
    given = ["embed", molecules, "--device", "cpu", "--pooling", "sum"]
    assert "give --level molecule" in cli(*given, "-m", network, code=2)
    assert "no atoms to sum over" in cli(*given, "-m", "mo3enet", code=2)
    cli(*given, "-m", network, "--level", "molecule")


def test_prune_leaves_a_smaller_potential(cli, tmp_path, network, molecules):
    given = ["prune", network, molecules, "--drop", "2", "--time", "0", "--threads", 1]
    out = cli(*given)
    assert "the smaller model: pruned/best.safetensors" in out
    assert "by the labels of the whole network" in " ".join(out.split())
    report = json.loads((tmp_path / "pruned" / "prune.json").read_text())
    assert [row["degrees"] for row in report["networks"]] == ["0 1 2", "0 1"]
    assert report["labels"] == "the whole network"
    assert "--overwrite" in cli(*given, code=2)
    assert "such as 1,2" in cli(
        "prune", network, molecules, "--drop", "x", "-o", "y", code=2
    )
    cli("relax", "O", "-m", "pruned/best.safetensors", "--steps", 1)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--lr", -1], "lr = -1.0; give a number above 0"),
        (["--batch-size", 0], "batch_size = 0; give 1 or more"),
        (["--time", "soon"], "duration 'soon': give HH:MM:SS"),
    ],
)
def test_senseless_settings_leave_nothing(cli, tmp_path, network, option, message):
    given = ["prune", network, "a.xyz", "--drop", "2", "-o", "out", *option]
    assert message in cli(*given, code=2)
    assert not (tmp_path / "out").exists()


def test_prune_takes_vectors_from_the_shipped_network_of_energies(
    cli, tmp_path, molecules
):
    given = ["prune", "qm9-u0", molecules, "--drop"]
    out = cli(*given, "1", "--time", "0", "--threads", 1, "-o", "scalars")
    assert "U0 MAE" in out
    report = json.loads((tmp_path / "scalars" / "prune.json").read_text())
    assert [row["degrees"] for row in report["networks"]] == ["0 1", "0"]
    cli("predict", "O", "-m", "scalars/best.safetensors", "--device", "cpu")
    assert "read from the scalars" in cli(*given, "0", "-o", "none", code=2)
    assert "degrees [2] were given to drop, the network has [0, 1]" in cli(
        *given, "2", "-o", "none", code=2
    )


def test_analyze_irreps_writes_table_and_figure(cli, tmp_path, network, molecules):
    out = cli("analyze", "irreps", network, molecules, "--device", "cpu", "-o", "use")
    assert "What to do" in out
    with (tmp_path / "use" / "irreps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["irrep"] for row in rows] == ["0e", "1o", "2e"]
    assert "force_change_meV/A" in rows[0]
    assert "force_error_meV/A" not in rows[0]  # there are no labels
    assert float(rows[1]["force_change_meV/A"]) > 0
    figure = tmp_path / "use" / "irreps.png"
    assert figure.stat().st_size > 0
    figure.write_text("kept")
    given = ["analyze", "irreps", network, molecules, "--device", "cpu", "-o", "use"]
    assert "--overwrite replaces it" in cli(*given, code=2)
    assert figure.read_text() == "kept"
    cli(*given, "--overwrite")
    assert figure.stat().st_size > 4


def test_analyze_map_draws_a_property(cli, tmp_path, network, molecules):
    given = ["analyze", "map", network, molecules, "--device", "cpu", "--method", "pca"]
    cli(*given, "-o", "m.png")
    assert (tmp_path / "m.png").stat().st_size > 0
    assert "--overwrite replaces it" in cli(*given, "-o", "m.png", code=2)
    assert "--limit" in cli(*given, "--limit", -3, "-o", "few.png", code=2)
    out = cli(*given, "--property", "nothing", code=2)
    assert "no structure has a number 'nothing'" in out
    given[-1] = "tsne"
    assert "give pca, umap, phate" in cli(*given, code=2)


@pytest.fixture
def labelled(tmp_path):
    structures = [molecule(name) for name in ("H2O", "CH4", "CH3OH", "C2H6", "CO2")]
    for k, atoms in enumerate(structures):
        forces = np.zeros((len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=-float(k), forces=forces)
    write(tmp_path / "labelled.extxyz", structures)
    return "labelled.extxyz"


def test_analyze_compares_with_the_labels_of_a_file(cli, tmp_path, network, labelled):
    given = ["analyze", "irreps", network, labelled, "--device", "cpu"]
    cli(*given, "--property", "energy")
    with (tmp_path / "irreps" / "irreps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert "force_error_meV/A" in rows[0]
    assert "energy_error_meV/atom" in rows[0]


def test_analyze_finds_u0_where_packed_sets_have_it(cli, tmp_path, network, labelled):
    pack(read_structures(labelled), tmp_path / "packed")
    given = ["analyze", "map", network, "packed", "--device", "cpu", "--method", "pca"]
    cli(*given, "--property", "U0")
    assert (tmp_path / "map.png").stat().st_size > 0


def test_analyze_goes_on_past_what_cannot_be_embedded(cli, tmp_path, network, labelled):
    (tmp_path / "list.smi").write_text("O\nnonsense\nCl\nCO\nCC\nC\n")
    given = ["analyze", "map", network, "list.smi", "--device", "cpu"]
    out = cli(*given, "--method", "pca", code=2)
    assert "list.smi:2: 'nonsense' is not a valid SMILES" in out
    assert "Cl: element Cl" in out
    assert "2 of 6 structures left out" in out
    assert "4 structures: map.png" in out
