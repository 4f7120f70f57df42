"""Sequences of growing fragments."""

import numpy as np
import pytest
from ase.build import molecule

from equicalc.data.fragments import fragment_sequences, pad_molecules

NAMES = ("CH3CH2OH", "C6H6", "H2O", "CH4")


def padded(*names):
    atoms = [molecule(name) for name in names]
    return pad_molecules(
        np.concatenate([a.numbers for a in atoms]),
        np.concatenate([a.positions for a in atoms]),
        np.array([len(a) for a in atoms]),
    )


def draw(*names, seed=0, **options):
    z, pos = padded(*names)
    return z, pos, fragment_sequences(z, pos, np.random.default_rng(seed), **options)


@pytest.mark.parametrize("order", ["nearest", "heavy-first"])
def test_every_atom_is_placed_once_at_an_earlier_one(order):
    z, _, drawn = draw(*NAMES, order=order)
    for row in range(len(z)):
        n = int((z[row] > 0).sum())
        placed = drawn.order[row, :n].tolist()
        assert sorted(placed) == np.flatnonzero(z[row]).tolist()
        assert (drawn.order[row, n:] == -1).all()
        for step in range(1, n):
            assert drawn.focus[row, step] in placed[:step]
            assert drawn.admissible[row, step - 1][drawn.focus[row, step], placed[step]]


def test_the_nearest_pair_within_the_tolerance_comes_next():
    z, pos, drawn = draw(*NAMES, order="nearest", tolerance=0.125)
    for row in range(len(z)):
        n = int((z[row] > 0).sum())
        d = np.linalg.norm(pos[row, :, None] - pos[row], axis=-1)
        for step in range(1, n):
            inside = drawn.order[row, :step]
            left = np.setdiff1d(np.flatnonzero(z[row]), inside)
            among = d[np.ix_(inside, left)]
            expected = {
                (inside[i], left[j])
                for i, j in np.argwhere(among <= among.min() + 0.125)
            }
            found = set(zip(*np.nonzero(drawn.admissible[row, step - 1])))
            assert found == expected


def test_hydrogens_come_last_each_at_its_nearest_atom():
    z, pos, drawn = draw(*NAMES)
    for row in range(len(z)):
        placed = drawn.order[row][drawn.order[row] >= 0]
        is_hydrogen = z[row, placed] == 1
        assert (np.diff(is_hydrogen.astype(int)) >= 0).all()
        for atom, focus in zip(placed, drawn.focus[row]):
            if z[row, atom] == 1 and focus >= 0:
                d = np.linalg.norm(pos[row] - pos[row, atom], axis=1)
                heavy = np.flatnonzero(z[row] > 1)
                assert focus == heavy[d[heavy].argmin()]


def test_counts_of_methane():
    """All four hydrogens, then three, ...; at the end nothing: stop."""
    z, _, drawn = draw("CH4")
    counts = drawn.counts(np.searchsorted([1, 6], z), 2)
    carbon = int(np.flatnonzero(z[0] == 6)[0])
    assert counts[0, :, carbon, 0].tolist() == [4, 3, 2, 1, 0]
    assert counts.sum() == 10


def test_an_octahedron_leaves_its_free_corners():
    corners = 1.1 * np.concatenate([np.eye(3), -np.eye(3)])
    z = np.array([[6, 1, 1, 1, 1, 1, 1]])
    pos = np.concatenate([np.zeros((1, 3)), corners])[None]
    drawn = fragment_sequences(z, pos, np.random.default_rng(0))
    for step in range(6):
        free = np.setdiff1d(np.arange(1, 7), drawn.order[0, : step + 1])
        assert np.flatnonzero(drawn.admissible[0, step, 0]).tolist() == free.tolist()


def test_the_seed_decides():
    same = [draw(*NAMES, seed=1)[2].order for _ in range(2)]
    other = draw(*NAMES, seed=2)[2].order
    assert (same[0] == same[1]).all()
    assert (same[0] != other).any()


def test_one_atom_is_whole():
    _, _, drawn = draw("CH4")
    single = fragment_sequences(
        np.array([[6]]), np.zeros((1, 1, 3)), np.random.default_rng(0)
    )
    assert single.order.tolist() == [[0]]
    assert not single.admissible.any()
    assert drawn.admissible[0, 0].any()
