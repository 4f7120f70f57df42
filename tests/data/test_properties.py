"""Molecules with properties are read from packed sets and from published arrays."""

import numpy as np
import pytest

from equicalc.data import write_packed
from equicalc.data.properties import read_properties

Z = [[8, 1, 1], [6, 8, 0]]
POS = np.arange(18.0).reshape(2, 3, 3)


@pytest.fixture
def padded(tmp_path):
    file = tmp_path / "padded.npz"
    np.savez(
        file,
        z=Z,
        pos=POS,
        props=[[1.0, 2.0], [3.0, 4.0]],
        prop_names=["mu", "gap"],
        dipole=POS[:, 0],
    )
    return file


def test_padded_and_flat_arrays_are_the_same_molecules(padded, tmp_path):
    file = tmp_path / "flat.npz"
    flat = np.concatenate([POS[0], POS[1, :2]])
    np.savez(file, z=[8, 1, 1, 6, 8], pos=flat, n_atoms=[3, 2], gap=[2.0, 4.0])
    a, b = read_properties(padded, ["gap"]), read_properties(file, ["gap"])
    for name in ("z", "pos", "n_atoms", "values"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_several_columns_stand_side_by_side(padded):
    assert read_properties(padded, ["gap", "mu"]).values.tolist() == [[2, 1], [4, 3]]
    np.testing.assert_array_equal(read_properties(padded, ["dipole"]).values, POS[:, 0])


def test_packed_sets_are_read(tmp_path):
    records = [
        {"z": [8, 1], "pos": POS[0, :2], "energy": -1.5},
        {"z": [6], "pos": POS[0, :1], "energy": -2.5},
    ]
    write_packed(tmp_path / "set", records)
    table = read_properties(tmp_path / "set", ["energy"])
    assert table.values.tolist() == [[-1.5], [-2.5]]
    assert table.n_atoms.tolist() == [2, 1]


def test_graphs_and_counts_follow_the_molecules(padded):
    table = read_properties(padded, ["mu"])
    graph = table.graph(1, 2)
    assert graph.z.tolist() == [6, 8]
    assert graph.ptr.tolist() == [0, 2]
    np.testing.assert_array_equal(graph.pos, POS[1, :2])
    assert table.counts([1, 6, 8]).tolist() == [[2, 0, 1], [0, 1, 1]]
    second = table.subset(np.array([1]))
    assert (second.z.tolist(), second.values.tolist()) == ([6, 8], [[3.0]])


def test_what_is_missing_is_named(padded, tmp_path):
    with pytest.raises(ValueError, match="no 'homo'; it has dipole, gap, mu"):
        read_properties(padded, ["homo"])
    file = tmp_path / "short.npz"
    np.savez(file, z=[8, 1], pos=POS[0, :2], n_atoms=[3], gap=[1.0])
    with pytest.raises(ValueError, match="1 molecules with 3 atoms, but 2"):
        read_properties(file, ["gap"])
