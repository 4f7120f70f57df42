"""Neighbour lists against all pairs of all images; graphs, batches, bad input."""

import itertools
import time

import numpy as np
import pytest
import torch

from equicalc.graph import (
    collate,
    edge_vectors,
    make_graph,
    molecule_edges,
    neighbor_list,
)

NONE, ALL = (False, False, False), (True, True, True)
NO_CELL = np.zeros((3, 3))


def every_pair(positions, cell, pbc, cutoff, n_images=5):
    """All (dst, src, shift) by trying each image, as a sorted list."""
    ranges = [range(-n_images, n_images + 1) if p else [0] for p in pbc]
    found = []
    for shift in itertools.product(*ranges):
        vectors = positions[None] + np.array(shift) @ cell - positions[:, None]
        near = np.linalg.norm(vectors, axis=-1) < cutoff
        if not any(shift):
            np.fill_diagonal(near, False)
        found += [(int(i), int(j), *shift) for i, j in np.argwhere(near)]
    return sorted(found)


def as_list(src, dst, shifts):
    return sorted(zip(dst.tolist(), src.tolist(), *shifts.T.tolist()))


@pytest.mark.parametrize("pbc", [*itertools.product([False, True], repeat=3)])
@pytest.mark.parametrize("size", [2.0, 6.0], ids=["small cell", "large cell"])
def test_agrees_with_every_pair_of_images(pbc, size):
    rng = np.random.default_rng(3)
    for _ in range(3):
        cell = size * (np.eye(3) + 0.2 * rng.normal(size=(3, 3)))
        positions = rng.uniform(-1, 2, size=(5, 3)) @ cell  # many outside of the cell
        cutoff = 3.0
        found = neighbor_list(positions, cell, pbc, cutoff)
        assert as_list(*found) == every_pair(positions, cell, pbc, cutoff)


def test_is_sorted_by_centre_and_runs_both_ways():
    rng = np.random.default_rng(0)
    src, dst, shifts = neighbor_list(
        rng.normal(size=(40, 3)) * 4, 9 * np.eye(3), ALL, 4.0
    )
    assert (np.diff(dst) >= 0).all()
    assert as_list(src, dst, shifts) == as_list(dst, src, -shifts)


@pytest.mark.parametrize("pbc", [NONE, (True, True, False), ALL])
def test_far_from_the_origin_nothing_changes(pbc):
    rng = np.random.default_rng(1)
    positions, cell = rng.uniform(0, 12, size=(150, 3)), 12 * np.eye(3)

    def timed(shift):
        start = time.process_time()
        src, dst, shifts = neighbor_list(positions + shift, cell, pbc, 5.0)
        seconds = time.process_time() - start
        vectors = positions[src] + shifts @ cell - positions[dst]
        return seconds, np.sort(np.linalg.norm(vectors, axis=1))

    near_time, near = min((timed(0.0) for _ in range(5)), key=lambda pair: pair[0])
    far_time, far = min((timed(1e5) for _ in range(5)), key=lambda pair: pair[0])
    np.testing.assert_allclose(far, near, atol=1e-9)
    assert far_time < 5 * near_time + 0.05


@pytest.mark.parametrize("pbc", [NONE, (True, True, False), (False, True, False)])
def test_fragments_far_apart_cost_nothing(pbc):
    fragment = np.array([[0.0, 0, 0], [0, 0, 1]])
    positions = np.concatenate([fragment, fragment + np.array([0, 0, 1e6])])
    start = time.process_time()
    found = neighbor_list(positions, np.diag([9.0, 9, 1]), pbc, 5.0)
    assert time.process_time() - start < 0.5
    assert as_list(*found) == [(i, i ^ 1, 0, 0, 0) for i in range(4)]


def test_no_atoms_and_one_atom():
    for positions in (np.zeros((0, 3)), np.zeros((1, 3))):
        src, dst, shifts = neighbor_list(positions, NO_CELL, NONE, 5.0)
        assert src.shape == dst.shape == (0,)
        assert shifts.shape == (0, 3)


def test_one_atom_meets_its_images_but_not_itself():
    found = neighbor_list(np.zeros((1, 3)), np.eye(3), (False, True, False), 2.5)
    assert as_list(*found) == [(0, 0, 0, n, 0) for n in (-2, -1, 1, 2)]


def test_coincident_atoms_are_neighbours():
    src, dst, _ = neighbor_list(np.ones((2, 3)), NO_CELL, NONE, 2.0)
    assert (src.tolist(), dst.tolist()) == ([1, 0], [0, 1])


@pytest.mark.parametrize(
    ("positions", "cell", "pbc", "cutoff", "message"),
    [
        ([[0, 0, np.nan]], NO_CELL, NONE, 1.0, "not finite in row 0"),
        ([[0, 0, 0]], np.full((3, 3), np.inf), NONE, 1.0, "cell is not finite"),
        ([[0, 0, 0]], NO_CELL, ALL, 1.0, "zero or linearly dependent"),
        ([[0, 0, 0]], np.ones((3, 3)), ALL, 1.0, "linearly dependent"),
        ([[0, 0, 0]], np.eye(3) * 1e-3, ALL, 5.0, "in another unit"),
        ([[0, 0, 0]], NO_CELL, NONE, 0.0, "positive length"),
        ([[0, 0, 0]], NO_CELL, NONE, np.nan, "positive length"),
        ([[0, 0]], NO_CELL, NONE, 1.0, "shape"),
    ],
)
def test_bad_input_is_named(positions, cell, pbc, cutoff, message):
    with pytest.raises(ValueError, match=message):
        neighbor_list(positions, cell, pbc, cutoff)


def test_molecule_edges_agree_with_the_neighbour_list():
    rng = np.random.default_rng(5)
    sizes = [4, 1, 0, 30, 7]
    molecules = [rng.normal(size=(n, 3)) * 2 for n in sizes]
    expected, first = [], 0
    for positions in molecules:
        src, dst, _ = neighbor_list(positions, NO_CELL, NONE, 3.0)
        expected += list(zip((dst + first).tolist(), (src + first).tolist()))
        first += len(positions)
    ptr = torch.tensor([0, *np.cumsum(sizes)])
    src, dst = molecule_edges(torch.tensor(np.concatenate(molecules)), ptr, 3.0)
    assert list(zip(dst.tolist(), src.tolist())) == sorted(expected)


def test_molecule_edges_have_no_self_edges_in_large_molecules():
    # distances by matrix products are not exactly zero on the diagonal
    pos = torch.randn(200, 3) * 5
    src, dst = molecule_edges(pos, torch.tensor([0, 200]), 5.0)
    assert not (src == dst).any()


def test_edge_vectors_span_the_boundary_and_carry_gradients():
    graph = make_graph(
        [6, 8], [[0.5, 0, 0], [9.5, 0, 0]], 10 * np.eye(3), ALL, cutoff=2.0
    )
    graph.cell.requires_grad_()
    vectors = edge_vectors(graph)
    torch.testing.assert_close(
        vectors, torch.tensor([[-1.0, 0, 0], [1, 0, 0]]).double()
    )
    vectors[0, 0].backward()
    assert graph.cell.grad[0, 0, 0] == -1.0


def test_graph_has_the_documented_shapes():
    graph = make_graph(
        np.array([8, 1, 1]),
        np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32),
        cutoff=5.0,
        energy=-1.0,
        forces=np.zeros((3, 3)),
        stress=np.zeros((3, 3)),
        dipole=np.zeros(3),
        charges=np.zeros(3),
    )
    shapes = {k: (tuple(v.shape), v.dtype) for k, v in graph.to_dict().items()}
    f32, f64, i64 = torch.float32, torch.float64, torch.int64
    assert shapes == {
        "z": ((3,), i64),
        "pos": ((3, 3), f32),
        "cell": ((1, 3, 3), f32),
        "pbc": ((1, 3), torch.bool),
        "edge_index": ((2, 6), i64),
        "edge_shift": ((6, 3), f32),
        "batch": ((3,), i64),
        "ptr": ((2,), i64),
        "energy": ((1,), f64),
        "forces": ((3, 3), f32),
        "stress": ((1, 3, 3), f32),
        "dipole": ((1, 3), f32),
        "charges": ((3,), f32),
    }


def test_graph_does_not_share_memory_with_its_input():
    positions = np.zeros((1, 3))
    graph = make_graph([1], positions, cutoff=1.0)
    positions += 1
    assert graph["pos"].abs().max() == 0


def test_collate_keeps_edges_within_their_graph():
    rng = np.random.default_rng(2)
    singles = [
        make_graph([1] * n, rng.normal(size=(n, 3)), cutoff=3.0, energy=float(n))
        for n in (3, 1, 5)
    ]
    batch = collate(singles)
    assert batch.ptr.tolist() == [0, 3, 4, 9]
    assert batch["batch"].tolist() == [0] * 3 + [1] + [2] * 5
    assert batch.energy.tolist() == [3.0, 1.0, 5.0]
    src, dst = batch["batch"][batch["edge_index"]]
    assert torch.equal(src, dst)
    expected = torch.cat([edge_vectors(single) for single in singles])
    torch.testing.assert_close(edge_vectors(batch), expected)
    nested = collate([collate(singles[:2]), singles[2]])
    for key, value in batch.to_dict().items():
        torch.testing.assert_close(nested[key], value)


def test_collate_refuses_labels_on_some_graphs_only():
    plain = make_graph([1], np.zeros((1, 3)), cutoff=1.0)
    labelled = make_graph([1], np.zeros((1, 3)), cutoff=1.0, energy=0.0)
    with pytest.raises(ValueError, match="only 1 of 2 graphs carry 'energy'"):
        collate([plain, labelled])
    with pytest.raises(ValueError, match="no graph"):
        collate([])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"force": np.zeros((1, 3))}, "unknown label 'force'"),
        ({"forces": np.zeros((2, 3))}, r"forces has shape \(2, 3\); \(1, 3\) needed"),
        ({"energy": np.nan}, "energy holds numbers that are not finite"),
    ],
)
def test_bad_labels_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        make_graph([1], np.zeros((1, 3)), cutoff=1.0, **labels)


def test_numbers_and_positions_must_match():
    with pytest.raises(ValueError, match="2 atomic numbers but 1 positions"):
        make_graph([1, 1], np.zeros((1, 3)), cutoff=1.0)
