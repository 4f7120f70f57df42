"""Files of every kind, whole and damaged."""

import gzip
import os

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write
from rdkit import Chem
from rdkit.Chem import AllChem

from equicalc.cli import inputs
from equicalc.data import PackedDataset, open_dataset, read_structures, write_packed
from equicalc.data.readers import cache_folder, read_rmd17
from equicalc.units import KCAL_PER_MOL


@pytest.fixture
def structures():
    found = [molecule("H2O"), molecule("CH4"), bulk("NaCl", "rocksalt", a=5.6)]
    for number, atoms in enumerate(found):
        atoms.calc = SinglePointCalculator(
            atoms, energy=-float(number), forces=np.full((len(atoms), 3), 0.5)
        )
    return found


@pytest.mark.parametrize("name", ["set.xyz", "set.extxyz.gz", "set.traj", "set.db"])
def test_labels_survive_every_format(structures, tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".db":
        for atoms in structures:
            connect(path).write(atoms)
    else:
        write(path, structures)
    for atoms, expected in zip(read_structures(path), structures, strict=True):
        assert (atoms.numbers == expected.numbers).all()
        assert (atoms.pbc == expected.pbc).all()
        np.testing.assert_allclose(atoms.positions, expected.positions, atol=1e-7)
        assert atoms.get_potential_energy() == expected.get_potential_energy()
        np.testing.assert_allclose(atoms.get_forces(), 0.5)
    dataset = open_dataset(path, cache=tmp_path / "cache")
    assert dataset.column("energy").tolist() == [0.0, -1.0, -2.0]
    assert dataset.column("pbc").any(axis=1).tolist() == [False, False, True]


def test_every_molecule_of_an_sdf_is_read(tmp_path):
    path = tmp_path / "set.sdf"
    with Chem.SDWriter(str(path)) as writer:
        for smiles in ("CCO", "O", "C#N"):
            one = Chem.AddHs(Chem.MolFromSmiles(smiles))
            AllChem.EmbedMolecule(one, randomSeed=0)  # pyright: ignore[reportAttributeAccessIssue]
            one.SetProp("source", "a test")
            writer.write(one)
    formulas = ["C2H6O", "H2O", "CHN"]
    assert [str(a.get_chemical_formula()) for a in read_structures(path)] == formulas
    named = inputs.read_structures([str(path)])
    assert [one.atoms.get_chemical_formula() for one in named] == formulas
    assert [one.name for one in named] == ["set-0", "set-1", "set-2"]
    (last,) = inputs.read_structures([f"{path}@-1"])
    assert last.atoms.get_chemical_formula() == "CHN"


def test_an_index_selects_lines_of_a_file_of_smiles(tmp_path):
    path = tmp_path / "list.smi"
    path.write_text("C\n# none\nCC ethane\nnonsense\nCCC\n")

    def names(index):
        return [named.name for named in inputs.read_structures([f"{path}@{index}"])]

    assert names("1") == ["CC"]
    assert names("-1") == ["CCC"]
    assert names(":2") == ["C", "CC"]


@pytest.mark.parametrize("name", ["a@2.xyz", "a@2.cif", "a@2.traj", "a@1"])
def test_a_name_may_have_an_at_sign(structures, tmp_path, name):
    path = tmp_path / name
    salt = structures[-1]
    kind = path.suffix[1:] if path.suffix in (".cif", ".traj") else "extxyz"
    write(path, salt, format=kind)
    (atoms,) = read_structures(path)
    assert (atoms.numbers == salt.numbers).all()
    (named,) = inputs.read_structures([f"{path}@0"])
    assert (named.atoms.numbers == salt.numbers).all()


def test_labels_of_a_file_come_with_its_structures(structures, tmp_path):
    write(tmp_path / "set.xyz", structures)
    _, named, _ = inputs.read_structures([str(tmp_path / "set.xyz")])
    assert named.atoms.get_potential_energy() == -1.0


def test_an_empty_frame_is_found_when_it_is_asked_for(structures, tmp_path):
    write(tmp_path / "set.xyz", [structures[0], Atoms(), structures[1]])
    first, empty, last = inputs.read_structures([str(tmp_path / "set.xyz")])
    assert [len(first.atoms), len(last.atoms)] == [3, 5]
    with pytest.raises(ValueError, match=r"set\.xyz, structure 1: it has no atoms"):
        _ = empty.atoms


def test_structures_are_read_one_at_a_time(structures, tmp_path):
    write(tmp_path / "set.xyz", structures)
    with (tmp_path / "set.xyz").open("a") as file:
        file.write("3\nbroken\n")
    stream = read_structures(tmp_path / "set.xyz")
    assert [len(next(stream)) for _ in structures] == [3, 5, 2]
    with pytest.raises(ValueError, match="structure 3 cannot be read"):
        next(stream)


def truncated(path, structures):
    write(path, structures, format="extxyz")
    path.write_bytes(path.read_bytes()[:-30])


def truncated_gzip(path, structures):
    write(path.with_suffix(""), structures * 50, format="extxyz")
    path.write_bytes(gzip.compress(path.with_suffix("").read_bytes())[:-200])


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("set.xyz", truncated, "cannot be read"),
        ("set.xyz.gz", truncated_gzip, "cannot be read"),
        ("set.xyz", lambda p, s: p.write_text("hello\n"), "structure 0 cannot be read"),
        ("set.xyz", lambda p, s: p.write_bytes(b""), "structure 0|no structure"),
        ("set.what", lambda p, s: p.write_text("x"), "neither suffix nor content"),
        ("set.db", lambda p, s: p.write_text("x" * 99), "structure 0 cannot be read"),
        ("none.xyz", lambda p, s: None, "is no file"),
    ],
)
def test_damaged_files_are_named(structures, tmp_path, name, damage, message):
    path = tmp_path / name
    damage(path, structures)
    with pytest.raises(ValueError, match=message) as caught:
        list(read_structures(path))
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [("nuclear_charges", "coords", "energies", "forces"), ("z", "R", "E", "F")],
)
def test_md17_is_converted_to_electronvolts(tmp_path, names):
    arrays = (np.array([8, 1]), np.ones((3, 2, 3)), np.arange(3.0), np.ones((3, 2, 3)))
    contents = dict(zip(names, arrays))
    np.savez(tmp_path / "md.npz", allow_pickle=True, **contents)
    dataset = open_dataset(tmp_path / "md.npz", cache=tmp_path)
    assert dataset.column("energy").tolist() == [0, KCAL_PER_MOL, 2 * KCAL_PER_MOL]
    np.testing.assert_allclose(dataset.column("forces"), 0.0433641, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"F": np.zeros((3, 1, 3))}, r"'F': \(3, 1, 3\)"),
        ({"E": np.zeros(2)}, "one energy for each frame"),
        ({"R": np.full((3, 2, 3), np.nan)}, r"R\[0, 0, 0\] is nan"),
        ({"z": None}, "lacks the arrays z; it has E, F, R"),
        ({"E": np.array([None] * 3)}, "damaged"),
    ],
)
def test_md17_that_does_not_fit_is_named(tmp_path, change, message):
    arrays = {
        "z": np.array([8, 1]),
        "R": np.zeros((3, 2, 3)),
        "E": np.zeros(3),
        "F": np.zeros((3, 2, 3)),
    }
    kept = {k: v for k, v in (arrays | change).items() if v is not None}
    np.savez(tmp_path / "md.npz", **kept)
    with pytest.raises(ValueError, match=message):
        list(read_rmd17(tmp_path / "md.npz"))


def test_truncated_arrays_are_named(tmp_path):
    np.savez(tmp_path / "md.npz", z=np.zeros(100))
    data = (tmp_path / "md.npz").read_bytes()
    (tmp_path / "md.npz").write_bytes(data[:-50])
    with pytest.raises(ValueError, match=r"md\.npz is missing, cut short"):
        open_dataset(tmp_path / "md.npz", cache=tmp_path)


def test_packed_sets_open_as_they_are(tmp_path):
    write_packed(tmp_path / "set", [{"z": [1], "pos": np.zeros((1, 3))}])
    dataset = open_dataset(tmp_path / "set", cache=tmp_path / "cache")
    assert isinstance(dataset, PackedDataset)
    assert dataset.path == tmp_path / "set"
    assert not (tmp_path / "cache").exists()


def test_packed_copy_is_reused_until_the_file_changes(structures, tmp_path):
    path, cache = tmp_path / "set.xyz", tmp_path / "cache"
    write(path, structures)
    first = open_dataset(path, cache=cache).path
    assert open_dataset(path, cache=cache).path == first
    write(path, structures[:2])
    os.utime(path, ns=(1, 1))
    changed = open_dataset(path, cache=cache)
    assert changed.path != first
    assert len(changed) == 2


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("EQUICALC_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "datasets"


def test_servers_are_refused():
    with pytest.raises(ValueError, match=r"ase db postgresql://me@there/db --insert"):
        open_dataset("postgresql://me@there/db")


def test_unknown_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"without a meta\.json"):
        open_dataset(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        open_dataset(tmp_path / "none")
