"""Sources give the same molecules for the same numbers and seed."""

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

from equicalc.checkpoint import save_checkpoint
from equicalc.data.smiles import atoms_from_smiles
from equicalc.design import Files, Fragment, Generator


@pytest.fixture(scope="module")
def model(tiny_symphony, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    card = {"level_of_theory": "none, random", "licence": "MIT", "command": "test"}
    save_checkpoint(path, tiny_symphony, card)
    return str(path)


def same(one, other):
    return len(one) == len(other) and np.allclose(one.positions, other.positions)


def test_a_molecule_has_a_number(model):
    source = Generator(model=model)
    together, alone = source.fresh([4, 5], 7)[1], source.fresh([5], 7)[0]
    assert same(together, alone)
    others = zip(source.fresh(range(8), 7), source.fresh(range(8), 8))
    assert not all(same(one, other) for one, other in others)


def test_fragments_stay_as_they_are(model, tmp_path):
    fragment = molecule("CH3OH")[:2]
    write(tmp_path / "fragment.xyz", fragment)
    source = Fragment(file=tmp_path / "fragment.xyz", model=model)
    found = source.fresh([0, 1], 3)
    assert all(np.allclose(a.positions[:2], fragment.positions) for a in found)
    assert same(found[1], source.fresh([1], 3)[0])


def test_a_bare_fragment_gets_its_hydrogens_anew(model, tmp_path):
    write(tmp_path / "water.xyz", molecule("H2O"))
    source = Fragment(file=tmp_path / "water.xyz", model=model, bare=True)
    (found,) = source.fresh([0], 3)
    assert (found.arrays["gen_focus"][1:] >= 0).all()
    assert "hydrogens anew" in found.info["rules"]


def test_a_bad_line_of_a_file_is_named(tmp_path):
    (tmp_path / "a.smi").write_text("CO\nXX\n")
    with pytest.raises(ValueError, match=r"a\.smi:2: 'XX' is not a valid SMILES"):
        Files(paths=(tmp_path / "a.smi",)).fresh([0], 0)


def test_files_are_taken_once(tmp_path):
    (tmp_path / "a.smi").write_text("CO\nCC\n")
    write(tmp_path / "b.xyz", molecule("H2O"))
    source = Files(paths=(tmp_path / "a.smi", tmp_path / "b.xyz"))
    first, rest = source.fresh([0, 1], 0), source.fresh([2, 3], 0)
    formulas = [a.get_chemical_formula() for a in first + rest]
    assert formulas == ["CH4O", "C2H6", "H2O"]


def test_variants_keep_the_fragment(model, tmp_path):
    ring = atoms_from_smiles("C1CC1")
    write(tmp_path / "ring.xyz", ring)
    source = Fragment(file=tmp_path / "ring.xyz", model=model, bare=True)
    (parent,) = source.fresh([0], 3)
    for seed in range(4):
        child = source.variant(parent, seed)
        assert np.allclose(child.positions[:3], ring.positions[:3])
        parent = child
    other = source.variant(molecule("CH3OH"), 5)  # lost its order
    assert np.allclose(other.positions[:3], ring.positions[:3])


def test_variants_grow_where_they_may(model, tmp_path):
    write(tmp_path / "a.xyz", molecule("CH3OH")[:2])
    options = {"file": tmp_path / "a.xyz", "model": model, "bare": True}
    source = Fragment(grow_from=(0,), **options)
    (parent,) = source.fresh([0], 3)
    for seed in range(8):
        child = source.variant(parent, seed)
        heavy = child.numbers[2:] > 1
        assert 1 not in child.arrays["gen_focus"][2:][heavy]
