"""Molecules from SMILES."""

import numpy as np
import pytest

pytest.importorskip("rdkit")

from equicalc.data.smiles import (
    atoms_from_smiles,
    canonical,
    composition,
    conformers,
    fragments,
    heavy_atoms,
    numbered_smiles,
    read_smiles,
)


def test_same_seed_same_structure():
    first, again = atoms_from_smiles("CCO", 3), atoms_from_smiles("CCO", 3)
    np.testing.assert_array_equal(first.positions, again.positions)
    assert not np.allclose(first.positions, atoms_from_smiles("CCO", 4).positions)


@pytest.mark.parametrize("smiles", ["[H][H]", "O", "Cl", "[Cl-]", "CS(C)=O", "C#C"])
def test_small_molecules_have_finite_separate_atoms(smiles):
    atoms = atoms_from_smiles(smiles)
    assert np.isfinite(atoms.positions).all()
    distances = atoms.get_all_distances() + 9 * np.eye(len(atoms))
    assert distances.min() > 0.6


@pytest.mark.parametrize(
    ("smiles", "length"),
    [("N#N", 1.10), ("O=C=O", 1.16), ("S=C=S", 1.55), ("O=S=O", 1.43), ("FF", 1.41)],
)
def test_small_molecules_without_hydrogen_have_their_bonds(smiles, length):
    atoms = atoms_from_smiles(smiles)
    assert atoms.get_distance(0, 1) == pytest.approx(length, abs=0.1)


def test_charge_is_kept():
    atoms = atoms_from_smiles("CC(=O)[O-]")
    assert atoms.info["charge"] == -1
    assert atoms.get_initial_charges().sum() == -1
    assert atoms_from_smiles("C[N+](=O)[O-]").info["charge"] == 0


@pytest.mark.parametrize(
    ("smiles", "spin"), [("[CH3]", 2), ("[O]", 3), ("O", None), ("[NH4+]", None)]
)
def test_radicals_carry_their_multiplicity(smiles, spin):
    assert atoms_from_smiles(smiles).info.get("spin") == spin


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_conformers_differ(seed):
    pentanols = conformers("CCCCCO", 4, seed=seed)
    ends = {round(float(a.get_distance(0, 5)), 2) for a in pentanols}
    assert len(pentanols) == 4
    assert len(ends) > 1


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.smi").write_text("CCO\nCO\n", encoding="utf-8-sig")
    assert read_smiles(tmp_path / "a.smi") == ["CCO", "CO"]


@pytest.mark.parametrize("bad", ["", "  ", "C1CC", "ethanol", "C(C)(C)(C)(C)C"])
def test_bad_smiles_are_named(bad):
    with pytest.raises(ValueError, match="not a valid SMILES") as caught:
        atoms_from_smiles(bad)
    assert repr(bad) in str(caught.value)


def test_impossible_geometry_is_an_error():
    with pytest.raises(ValueError, match="embedded"):
        atoms_from_smiles("C1#CC1")


def test_no_conformers_is_an_error():
    with pytest.raises(ValueError, match="at least 1"):
        conformers("C", 0)


def test_stereoisomers_share_connectivity():
    left, right = "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"
    assert canonical(left) != canonical(right)
    assert canonical(left, stereo=False) == canonical(right, stereo=False)


def test_composition_counts():
    assert composition("[CH3]") == (frozenset("CH"), 1, 0, 1)
    assert composition("ClC=C") == (frozenset(["H", "C", "Cl"]), 3, 0, 0)
    assert heavy_atoms("ClC=C") == 3


def test_fragments_are_whole_valid_molecules():
    pieces = fragments(["Cc1ccsc1CCNC(=O)c1ccccc1Cl", "Cc1ccsc1CCNC(=O)c1ccccc1Cl"], 8)
    assert len(pieces) == len(set(pieces))
    assert {"Cc1ccsc1", "Clc1ccccc1"} <= set(pieces)
    for piece in pieces:
        assert 2 <= heavy_atoms(piece) <= 8
        assert composition(piece)[2:] == (0, 0)  # neutral and closed-shell


def test_files_of_smiles(tmp_path):
    (tmp_path / "a.smi").write_text("# comment\nCCO ethanol\n\nC\n")
    (tmp_path / "a.csv").write_text('name,smiles\n"x, y",CCO\nz,C \n')
    np.savez(tmp_path / "a.npz", smiles=np.array(["CCO", "C"]))
    np.savez(tmp_path / "b.npz", smiles=np.array([b"CCO", b"C"]))
    (tmp_path / "B.SMI").write_text("CCO\nC\n")
    (tmp_path / "b.csv").write_text("Name,SMILES\nx,CCO\nz,C\n")
    for name in ("a.smi", "a.csv", "a.npz", "b.npz", "B.SMI", "b.csv"):
        assert read_smiles(tmp_path / name) == ["CCO", "C"]
    assert numbered_smiles(tmp_path / "a.smi") == [(2, "CCO"), (4, "C")]
    assert numbered_smiles(tmp_path / "a.csv") == [(2, "CCO"), (3, "C")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.smi", b"", "no SMILES"),
        ("a.smi", b"\xff\xfe\x00", "no SMILES that can be read"),
        ("a.csv", b"name\nCCO\n", "KeyError: 'smiles'"),
        ("a.npz", b"not a zip", "no .npz file"),
        ("missing.smi", None, "is no file"),
        ("a.smi", b"SMILES name\nC\n", "a.smi:1: 'SMILES name' is a header"),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_smiles(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("smiles", ["O.O", "CC(=O)O.N.c1ccccc1"])
def test_several_molecules_lie_side_by_side(smiles):
    from ase.build import separate

    apart = [len(atoms_from_smiles(part)) for part in smiles.split(".")]
    together = separate(atoms_from_smiles(smiles), scale=1.2)
    assert sorted(map(len, together)) == sorted(apart)


def test_ions_do_not_lie_on_each_other():
    assert atoms_from_smiles("[Na+].[Cl-]").get_distance(0, 1) > 2
