"""QM9 made ready for training: tables, splits, and what is kept of earlier tries."""

import numpy as np
import pytest

from equicalc.data import open_dataset
from equicalc.data.packed import PackedDataset
from equicalc.data.qm9 import TARGETS
from equicalc.data.qm9_arrays import read_qm9_tables
from equicalc.data.qm9_set import prepare_qm9
from equicalc.data.qm9_split import SPLITS, edm_split, paper_split, thesis_split
from equicalc.units import HARTREE

N = 20


@pytest.fixture
def tables():
    rng = np.random.default_rng(0)
    z = np.zeros((N, 4), np.uint8)
    for row, n_atoms in zip(z, rng.integers(1, 5, N)):
        row[:n_atoms] = rng.choice([1, 6, 8], n_atoms)
    return {
        "z": z,
        "pos": rng.normal(size=(N, 4, 3)).astype(np.float32),
        "prop_names": np.array(list(TARGETS)),
        "props": rng.normal(size=(N, len(TARGETS))),
    }


@pytest.fixture
def source(tmp_path, tables):
    np.savez(tmp_path / "tables.npz", **tables)
    return tmp_path / "tables.npz"


def test_tables_are_read_in_our_units(tables, source):
    records = list(read_qm9_tables(source))
    for record, z, row in zip(records, tables["z"], tables["props"]):
        published = dict(zip(TARGETS, row))
        assert record["z"].tolist() == z[z > 0].tolist()
        assert len(record["pos"]) == len(record["z"])
        assert record["energy"] == published["U0"] * HARTREE
        assert record["gap"] == published["gap"] * HARTREE
        assert record["mu"] == published["mu"]


def test_a_training_run_can_open_tables(source, tmp_path):
    dataset = open_dataset(source, cache=tmp_path)
    assert len(dataset) == N
    assert {"mu", "Cv", "energy"} <= set(dataset.fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pos": np.zeros((N, 3, 3))}, r"\(n, atoms, 3\)"),
        ({"prop_names": np.array(["A"] * 15)}, "U0 is needed"),
        ({"prop_names": np.array([*list(TARGETS)[:-1], "mass"])}, "must be among"),
    ],
)
def test_tables_that_do_not_fit_are_named(tmp_path, tables, change, message):
    np.savez(tmp_path / "bad.npz", **(tables | change))
    with pytest.raises(ValueError, match=message):
        list(read_qm9_tables(tmp_path / "bad.npz"))


@pytest.mark.parametrize(("name", "n"), [("edm", 130_831), ("thesis", 130_831)])
def test_splits_have_the_published_sizes(name, n):
    sizes = {part: len(places) for part, places in SPLITS[name](n).items()}
    published = {"edm": (100_000, 17_748, 13_083), "thesis": (109_000, 1_000, 20_831)}
    assert tuple(sizes.values()) == published[name]


@pytest.mark.parametrize("split", [paper_split, thesis_split, edm_split])
def test_every_molecule_is_in_one_part(split):
    places = np.concatenate(list(split(130_831).values()))
    assert (np.sort(places) == np.arange(130_831)).all()


def test_splits_of_other_sets_are_refused():
    with pytest.raises(ValueError, match="the edm split is of 130831"):
        edm_split(133_885)
    with pytest.raises(ValueError, match="choose `paper`"):
        thesis_split(6_095)


def test_a_prepared_set_is_found_again(source, tmp_path):
    folder = tmp_path / "qm9"
    parts = prepare_qm9(folder, source, split="paper")
    assert [len(PackedDataset(part)) for part in parts] == [16, 2, 2]
    source.unlink()  # so that nothing is read again
    assert set(prepare_qm9(folder, source, split="paper")) == set(parts)


def test_a_stopped_preparation_goes_on(source, tmp_path):
    folder = tmp_path / "qm9"
    parts = prepare_qm9(folder, source, split="paper")
    before = (parts[0] / "z.npy").stat().st_mtime_ns
    for file in parts[1].iterdir():
        file.unlink()
    parts[1].rmdir()
    prepare_qm9(folder, source, split="paper")
    assert len(PackedDataset(parts[1])) == 2
    assert (parts[0] / "z.npy").stat().st_mtime_ns == before


def test_another_split_needs_another_folder(source, tmp_path):
    prepare_qm9(tmp_path / "qm9", source, split="none")
    with pytest.raises(ValueError, match="choose another folder"):
        prepare_qm9(tmp_path / "qm9", source, split="paper")
    with pytest.raises(ValueError, match="unknown split"):
        prepare_qm9(tmp_path / "qm9", source, split="random")
    with pytest.raises(ValueError, match="goes with the archive"):
        prepare_qm9(tmp_path / "new", source, exclude="list.txt", split="none")


def test_isomers_of_a_formula_are_the_molecules_of_its_atoms(source, tmp_path):
    records = list(read_qm9_tables(source))
    atoms = sorted(records[0]["z"].tolist())
    formula = "".join({1: "H", 6: "C", 8: "O"}[z] for z in reversed(atoms))
    options = {"source": source, "split": "none", "formula": formula}
    [path] = prepare_qm9(tmp_path / "isomers", **options)
    found = PackedDataset(path)
    wanted = [k for k, r in enumerate(records) if sorted(r["z"].tolist()) == atoms]
    assert found.column("group").tolist() == wanted
    assert prepare_qm9(tmp_path / "isomers", **options) == [path]
    with pytest.raises(ValueError, match="choose another folder"):
        prepare_qm9(tmp_path / "isomers", source=source, split="none")
    with pytest.raises(ValueError, match="no molecule of the formula C60"):
        prepare_qm9(tmp_path / "none", source=source, split="none", formula="C60")
    with pytest.raises(ValueError, match="'Xx2' is no formula"):
        prepare_qm9(tmp_path / "none", source=source, split="none", formula="Xx2")
