"""What is written comes back; orders of growth are orders."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from equicalc.data import PackedDataset, read_structures, write_packed
from equicalc.data.atoms import atoms_to_record
from equicalc.data.fragments import fragment_sequences, pad_molecules

numbers = st.floats(-1e3, 1e3, width=32)


@st.composite
def records(draw):
    n = draw(st.integers(1, 5))
    record = {
        "z": draw(arrays(np.uint8, n, elements=st.integers(1, 118))),
        "pos": draw(arrays(np.float32, (n, 3), elements=numbers)),
        "energy": draw(st.floats(-1e9, 1e9)),
        "forces": draw(arrays(np.float32, (n, 3), elements=numbers)),
    }
    if draw(st.booleans()):
        record |= {
            "cell": draw(arrays(np.float32, (3, 3), elements=numbers)),
            "pbc": draw(arrays(np.bool_, 3)),
        }
    return record


@given(st.lists(records(), min_size=1, max_size=5), st.randoms())
def test_packed_structures_come_back_in_any_order(written, random):
    with tempfile.TemporaryDirectory() as folder:
        write_packed(Path(folder) / "set", written)
        dataset = PackedDataset(Path(folder) / "set")
        order = [random.randrange(len(written)) for _ in range(4)]
        batch = dataset.batch(order)
        expected = [written[k] for k in order]
        for name in ("z", "forces"):
            whole = np.concatenate([record[name] for record in expected])
            np.testing.assert_array_equal(batch[name], whole)
        sizes = [len(record["z"]) for record in expected]
        for record, pos in zip(expected, batch["pos"].split(sizes)):
            if not record.get("pbc", np.zeros(3)).any():  # molecules are centred
                wanted = record["pos"].astype(float) - record["pos"].mean(0, float)
                size = np.abs(record["pos"]).max()
                np.testing.assert_allclose(pos, wanted, atol=1e-6 * size, rtol=1e-6)
        assert batch.energy.tolist() == [record["energy"] for record in expected]
        assert batch.ptr.diff().tolist() == sizes
        for name, empty in (("cell", np.zeros((3, 3))), ("pbc", np.zeros(3, bool))):
            stacked = np.stack([record.get(name, empty) for record in expected])
            np.testing.assert_array_equal(batch[name], stacked)
        again = dataset.subset(order)
        np.testing.assert_array_equal(again.column("pos"), batch.pos)


@given(st.lists(records(), min_size=1, max_size=3))
def test_extended_xyz_keeps_structures_and_labels(written):
    structures = []
    for record in written:
        cell, pbc = record.get("cell"), record.get("pbc", False)
        atoms = Atoms(record["z"], positions=record["pos"], cell=cell, pbc=pbc)
        atoms.calc = SinglePointCalculator(
            atoms, energy=record["energy"], forces=record["forces"].astype(float)
        )
        structures.append(atoms)
    folder = Path(tempfile.mkdtemp())
    try:
        write(folder / "a.extxyz", structures)
        found = [
            atoms_to_record(atoms) for atoms in read_structures(folder / "a.extxyz")
        ]
    finally:
        shutil.rmtree(folder)
    for record, atoms, expected in zip(found, structures, written, strict=True):
        assert record["z"].tolist() == expected["z"].tolist()
        np.testing.assert_allclose(record["pos"], expected["pos"], atol=1e-7)
        np.testing.assert_allclose(record["forces"], expected["forces"], atol=1e-7)
        np.testing.assert_allclose(record["energy"], expected["energy"], rtol=1e-9)
        if atoms.pbc.any():
            assert record["pbc"].tolist() == atoms.pbc.tolist()


@st.composite
def molecules(draw):
    """One to three molecules, laid end to end, and the sizes of them."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3).map(np.array))
    n = int(sizes.sum())
    z = draw(arrays(np.int64, n, elements=st.sampled_from([1, 1, 6, 8])))
    places = arrays(np.float64, (n, 3), elements=st.floats(-3, 3, width=32))
    return z, draw(places), sizes


@given(molecules(), st.integers(0, 2**32), st.sampled_from(["nearest", "heavy-first"]))
def test_every_atom_is_placed_once_beside_one_that_is_there(drawn, seed, order):
    z, pos = pad_molecules(*drawn)
    found = fragment_sequences(z, pos, np.random.default_rng(seed), order)
    for row, size in enumerate(drawn[2]):
        placed = found.order[row, :size].tolist()
        assert sorted(placed) == list(range(size))
        assert (found.order[row, size:] < 0).all()
        for step in range(1, size):
            focus = found.focus[row, step]
            assert focus in placed[:step]
            assert found.admissible[row, step - 1, focus, placed[step]]
        hydrogens = z[row, placed] == 1
        if order == "heavy-first" and not hydrogens.all():
            assert (np.diff(hydrogens.astype(int)) >= 0).all()
