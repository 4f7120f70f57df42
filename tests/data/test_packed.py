"""Packed data sets: what is written is read, batches equal single structures."""

import json
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from equicalc.data import PackedDataset, pack, write_packed
from equicalc.graph import edge_vectors, neighbor_list


def make_record(rng, n_atoms=None, **extra):
    n = int(rng.integers(1, 9)) if n_atoms is None else n_atoms
    return {
        "z": rng.integers(1, 9, n),
        "pos": rng.normal(size=(n, 3)) * 2,
        "energy": -1000.0 + rng.normal(),
        "forces": rng.normal(size=(n, 3)),
        "dipole": rng.normal(size=3),
        "charges": rng.normal(size=n),
        **extra,
    }


@pytest.fixture
def records():
    rng = np.random.default_rng(0)
    return [make_record(rng, group=i // 3, kind=i % 2) for i in range(30)]


@pytest.fixture
def folder(records, tmp_path):
    write_packed(tmp_path / "set", records, {"kinds": ["relaxed", "hot"]})
    return tmp_path / "set"


def test_everything_written_is_read(folder, records):
    dataset = PackedDataset(folder)
    assert len(dataset) == 30
    assert dataset.meta["kinds"] == ["relaxed", "hot"]
    assert dataset.meta["elements"] == sorted({int(z) for r in records for z in r["z"]})
    assert dataset.meta["units"]["forces"] == "eV/Angstrom"
    for record, graph in zip(records, dataset, strict=True):
        np.testing.assert_array_equal(graph["z"], record["z"])
        moved = record["pos"] - record["pos"].mean(0)
        np.testing.assert_allclose(graph["pos"], moved, rtol=1e-6, atol=1e-6)
        assert graph.energy.dtype == torch.float64
        assert graph.energy.item() == record["energy"]
        np.testing.assert_allclose(graph.forces, record["forces"], rtol=1e-6)
        np.testing.assert_allclose(graph.dipole[0], record["dipole"], rtol=1e-6)
        np.testing.assert_allclose(graph.charges, record["charges"], rtol=1e-6)
    kinds = [record["kind"] for record in records]
    assert dataset.column("kind").tolist() == kinds


def test_batch_equals_singles_in_the_order_asked_for(folder):
    dataset = PackedDataset(folder)
    order = [7, 3, 7, 29, -1]
    batch = dataset.batch(order, cutoff=3.0)
    singles = [dataset.batch([i], cutoff=3.0) for i in order]
    for name in ("z", "pos", "energy", "forces", "dipole", "charges", "cell", "pbc"):
        expected = torch.cat([single[name] for single in singles])
        torch.testing.assert_close(batch[name], expected)
    expected = torch.cat([edge_vectors(single) for single in singles])
    torch.testing.assert_close(edge_vectors(batch), expected)
    assert batch["ptr"][-1] == len(batch["z"])
    assert (batch["edge_index"][1].diff() >= 0).all()


def test_batch_owns_its_numbers(folder):
    dataset = PackedDataset(folder)
    dataset.batch([0])["pos"].fill_(7.0)
    assert (dataset.batch([0])["pos"] != 7.0).all()


def test_molecules_and_crystals_mix(tmp_path):
    rng = np.random.default_rng(1)
    cell = np.diag([3.0, 4, 5])
    plain, periodic = make_record(rng, 4), make_record(rng, 3)
    crystal = periodic | {"cell": cell, "pbc": [True, True, False]}
    write_packed(tmp_path / "set", [plain, crystal, plain])
    dataset = PackedDataset(tmp_path / "set")
    batch = dataset.batch([2, 1], cutoff=3.5)
    assert batch["pbc"].tolist() == [[False] * 3, [True, True, False]]
    src, dst, shifts = neighbor_list(crystal["pos"], cell, crystal["pbc"], 3.5)
    expected = crystal["pos"][src] + shifts @ cell - crystal["pos"][dst]
    ours = edge_vectors(batch)[batch["batch"][batch["edge_index"][1]] == 1]
    torch.testing.assert_close(ours, torch.tensor(expected).float())
    assert not dataset.batch([0], cutoff=3.5)["edge_shift"].any()


def test_molecules_far_from_the_origin_keep_their_shape(tmp_path):
    near = make_record(np.random.default_rng(2), 6)
    far = near | {"pos": near["pos"] + [1e6, -3e5, 2e5]}
    write_packed(tmp_path / "set", [near, far])
    dataset = PackedDataset(tmp_path / "set")
    np.testing.assert_allclose(dataset[1]["pos"], dataset[0]["pos"], atol=1e-6)


@pytest.mark.parametrize("pbc", [[True] * 3, [True, False, True], [False, False, True]])
def test_periodic_atoms_far_from_the_cell_keep_their_neighbours(tmp_path, pbc):
    rng = np.random.default_rng(3)
    near = make_record(rng, 7) | {"cell": rng.normal(size=(3, 3)) + 4 * np.eye(3)}
    near["pbc"] = pbc
    away = 10_000 * rng.integers(-3, 3, (7, 3)) * pbc @ near["cell"]
    away += np.array([3e5, 0, 0]) * (not all(pbc))
    write_packed(tmp_path / "set", [near, near | {"pos": near["pos"] + away}])
    vectors = [
        edge_vectors(PackedDataset(tmp_path / "set").batch([k], cutoff=3.0))
        for k in (0, 1)
    ]
    assert len(vectors[0])
    lengths = [v.norm(dim=1).sort().values for v in vectors]
    torch.testing.assert_close(lengths[0], lengths[1], atol=2e-5, rtol=0)


def test_split_never_cuts_a_group(folder):
    dataset = PackedDataset(folder)
    fractions = {"train": 0.6, "valid": 0.2, "test": 0.2}
    parts = dataset.split(fractions, seed=1)
    groups = [set(part.column("group").tolist()) for part in parts.values()]
    assert [len(part) for part in parts.values()] == [18, 6, 6]
    assert set.union(*groups) == set(range(10))
    assert sum(map(len, groups)) == 10
    again = PackedDataset(folder).split(fractions, seed=1)
    assert all((parts[name].rows == again[name].rows).all() for name in parts)
    other = dataset.split(fractions, seed=2)
    assert (parts["train"].rows != other["train"].rows).any()


def test_groups_that_others_share_are_always_trained_on(tmp_path, records):
    write_packed(tmp_path / "set", records, {"always_train_groups": [0, 3]})
    fractions = {"test": 0.4, "train": 0.4, "valid": 0.2}
    for seed in range(5):
        parts = PackedDataset(tmp_path / "set").split(fractions, seed)
        assert {0, 3} <= set(parts["train"].column("group").tolist())
        assert sum(map(len, parts.values())) == len(records)


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"a": 0.9, "b": 0.2}, "at most 1"),
        ({"a": -0.1}, "must be positive"),
        ({"a": 0.9, "b": 0.01}, "leaves none for b"),
    ],
)
def test_impossible_splits_are_refused(folder, fractions, message):
    with pytest.raises(ValueError, match=message):
        PackedDataset(folder).split(fractions, seed=0)


def test_subset_of_subset(folder):
    dataset = PackedDataset(folder)
    part = dataset.subset([5, 6, 7]).subset([2, 0])
    assert part.rows.tolist() == [7, 5]
    np.testing.assert_array_equal(
        part.column("z"), torch.cat([dataset[7]["z"], dataset[5]["z"]])
    )
    assert len(dataset.subset(np.zeros(30, bool))) == 0


def test_pickling_sends_the_path_not_the_data(folder):
    dataset = PackedDataset(folder).subset([3, 1])
    sent = pickle.dumps(dataset)
    assert len(sent) < 1000
    torch.testing.assert_close(pickle.loads(sent)[1]["pos"], dataset[1]["pos"])


def test_index_out_of_range(folder):
    with pytest.raises(IndexError):
        PackedDataset(folder)[30]


def test_missing_column_names_those_at_hand(folder):
    with pytest.raises(ValueError, match="has no 'stress'; it has n_atoms, z, pos"):
        PackedDataset(folder).column("stress")


def test_pack_takes_labels_from_the_calculator(tmp_path):
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1]], info={"group": 7, "kind": 1})
    atoms.calc = SinglePointCalculator(atoms, energy=-2.0, forces=np.ones((2, 3)))
    pack([atoms], tmp_path / "set")
    dataset = PackedDataset(tmp_path / "set")
    assert dataset.fields == (
        "n_atoms",
        "z",
        "pos",
        "energy",
        "forces",
        "group",
        "kind",
    )
    assert dataset[0].energy.item() == -2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pos": np.zeros((2, 3))}, r"record 1 has pos of shape \(2, 3\); \(3, 3\)"),
        ({"z": [], "pos": []}, "record 1 has"),
        (
            {"cell": np.eye(2), "pbc": [True] * 3},
            r"cell of shape \(2, 2\); \(1, 3, 3\)",
        ),
        ({"cell": np.eye(3) * np.nan, "pbc": [True] * 3}, "cell that is not finite"),
        ({"energy": np.nan}, "record 1 has energy that is not finite"),
        ({"energie": 1.0}, "record 1 has the fields .*'energie'"),
        ({"stress": np.eye(3)}, "record 1 has stress, which those before it lack: "),
        ({"z": [0, 1, 1]}, "record 1 has atomic numbers"),
        ({"z": [1, 1, 300]}, "record 1 has z that uint8 does not hold: 300"),
        ({"kind": -1}, "record 1 has kind that uint8 does not hold: -1"),
        ({"group": 1.5}, "record 1 has group that int64 does not hold: 1.5"),
    ],
)
def test_bad_records_are_named_and_leave_nothing(tmp_path, change, message):
    good = make_record(np.random.default_rng(0), 3)
    with pytest.raises(ValueError, match=message):
        write_packed(tmp_path / "set", [good, good | change])
    assert list(tmp_path.iterdir()) == []


def test_field_that_a_record_lacks_is_named(tmp_path):
    good = make_record(np.random.default_rng(0), 3)
    poor = {name: good[name] for name in ("z", "pos", "energy", "dipole")}
    message = "record 1 lacks charges, forces, which those before it have: "
    with pytest.raises(ValueError, match=message):
        write_packed(tmp_path / "set", [good, poor])
    with pytest.raises(
        ValueError, match=r"record 1 has charges, forces, which .* lack"
    ):
        write_packed(tmp_path / "set", [poor, good])


@pytest.mark.parametrize("first", [True, False])
def test_forces_of_an_atom_alone_are_zero(tmp_path, first):
    rng = np.random.default_rng(0)
    atoms = [{"z": [z], "pos": [[0, 0, 5]], "energy": -1.0} for z in (1, 8)]
    pair = {"z": [1, 8], "pos": rng.normal(size=(2, 3)), "energy": -2.5}
    forces = rng.normal(size=(2, 3))
    records = [*atoms, pair | {"forces": forces}]
    write_packed(tmp_path / "set", records if first else records[::-1])
    found = PackedDataset(tmp_path / "set").column("forces")
    zeros = np.zeros((2, 3))
    expected = [zeros, forces] if first else [forces, zeros]
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-6)
    with pytest.raises(ValueError, match="record 3 lacks forces"):
        write_packed(tmp_path / "other", [*records, pair])


def test_interrupted_writer_leaves_nothing(tmp_path):
    def records():
        yield make_record(np.random.default_rng(0))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_packed(tmp_path / "set", records())
    assert list(tmp_path.iterdir()) == []


def test_existing_sets_are_not_overwritten(folder, records):
    with pytest.raises(FileExistsError, match="exists already"):
        write_packed(folder, records)
    assert len(PackedDataset(folder)) == 30


def test_empty_sets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no structure to write"):
        write_packed(tmp_path / "set", [])


def cut(folder, name):
    file = folder / name
    file.write_bytes(file.read_bytes()[:-4])


def edit(folder, **changes):
    file = folder / "meta.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: cut(f, "pos.npy"), "pos.npy is missing or cut short"),
        (lambda f: (f / "z.npy").unlink(), "z.npy is missing or cut short"),
        (lambda f: cut(f, "meta.json"), "meta.json is damaged"),
        (lambda f: (f / "meta.json").unlink(), "not a packed data set"),
        (lambda f: edit(f, version=99), "'equicalc-packed', 99"),
        (lambda f: edit(f, n_structures=29), r"but meta.json tells of int32 \(29,\)"),
        (lambda f: edit(f, fields={"z": "uint8"}), "fields that are needed"),
        (lambda f: np.save(f / "n_atoms.npy", np.ones(30, np.int32)), "adds up to 30"),
    ],
)
def test_damaged_sets_say_what_is_wrong(folder, damage, message):
    damage(folder)
    with pytest.raises(ValueError, match=message):
        PackedDataset(folder)
