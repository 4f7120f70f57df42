"""Any structure: its graph is that of trying every image of every atom."""

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from equicalc.data import atoms_to_graph
from equicalc.graph import collate, edge_vectors, make_graph, molecule_edges

CUTOFF = 3.0
MARGIN = 1e-6  # Angstrom; nearer to the cutoff rounding decides

coordinates = st.floats(-6, 6, width=32)
boundaries = st.tuples(st.booleans(), st.booleans(), st.booleans())


@st.composite
def cells(draw):
    """Sheared boxes, some much smaller than the cutoff."""
    lengths = draw(arrays(np.float64, 3, elements=st.floats(1.0, 7.0)))
    shear = draw(arrays(np.float64, (3, 3), elements=st.floats(-0.3, 0.3)))
    return np.diag(lengths) @ (np.eye(3) + shear - np.diag(np.diag(shear)))


def positions(most=5):
    return st.integers(0, most).flatmap(
        lambda n: arrays(np.float64, (n, 3), elements=coordinates)
    )


def every_pair(pos, cell, pbc, reach):
    """(dst, src, shift) -> distance of all pairs nearer than a reach."""
    periodic = np.array(pbc)
    lattice = np.where(periodic[:, None], cell, np.eye(3))
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    spread = np.ptp(np.linalg.solve(cell.T, pos.T), axis=1) if len(pos) else np.zeros(3)
    most = np.where(periodic, np.ceil(reach / heights + spread), 0).astype(int)
    found = {}
    for shift in itertools.product(*(range(-n, n + 1) for n in most)):
        vectors = pos[None] + np.array(shift) @ lattice - pos[:, None]
        distance = np.linalg.norm(vectors, axis=-1)
        if not any(shift):
            np.fill_diagonal(distance, np.inf)
        for dst, src in np.argwhere(distance < reach):
            found[int(dst), int(src), *shift] = distance[dst, src]
    return found


@given(positions(), cells(), boundaries)
def test_graph_has_the_pairs_of_all_images(pos, cell, pbc):
    graph = make_graph(np.ones(len(pos)), pos, cell, pbc, cutoff=CUTOFF)
    src, dst = graph["edge_index"].tolist()
    shifts = graph.edge_shift.long().tolist()
    found = {(j, i, *shift) for i, j, shift in zip(src, dst, shifts)}
    assert len(found) == len(src)
    near = every_pair(pos, cell, pbc, CUTOFF + MARGIN)
    assert found <= near.keys()
    assert {pair for pair, d in near.items() if d < CUTOFF - MARGIN} <= found
    lengths = edge_vectors(graph).norm(dim=1)
    expected = [near[j, i, *shift] for i, j, shift in zip(src, dst, shifts)]
    np.testing.assert_allclose(lengths, expected, atol=1e-9)


@given(positions(), cells(), boundaries, st.floats(-50, 50), st.randoms())
def test_graph_does_not_depend_on_place_or_cell_of_an_atom(pos, cell, pbc, far, random):
    """Shifted as a whole, and atoms by whole lattice vectors: the same distances."""
    steps = np.array([[random.randint(-2, 2) * p for p in pbc] for _ in pos])
    moved = pos + far + steps.reshape(-1, 3) @ cell
    lengths = [
        np.sort(edge_vectors(make_graph(z, x, cell, pbc, cutoff=CUTOFF)).norm(dim=1))
        for z, x in [(np.ones(len(pos)), pos), (np.ones(len(pos)), moved)]
    ]
    inside = [one[one < CUTOFF - MARGIN] for one in lengths]
    np.testing.assert_allclose(inside[0], inside[1], atol=1e-6)


@given(st.lists(positions(), min_size=1, max_size=4))
def test_batch_is_its_molecules(molecules):
    graphs = [make_graph(np.ones(len(p)), p, cutoff=CUTOFF) for p in molecules]
    batch = collate(graphs)
    edges = molecule_edges(batch["pos"], batch["ptr"], CUTOFF)
    assert torch.equal(edges, batch["edge_index"])
    for number, graph in enumerate(graphs):
        first, end = batch["ptr"][number : number + 2]
        inside = (edges[1] >= first) & (edges[1] < end)
        assert torch.equal(edges[:, inside] - first, graph["edge_index"])
        assert torch.equal(batch["pos"][first:end], graph["pos"])


@given(st.lists(st.integers(0, 118), max_size=4), cells(), boundaries)
def test_atoms_become_a_graph_or_a_clear_error(numbers, cell, pbc):
    atoms = Atoms(numbers, positions=np.eye(4, 3)[: len(numbers)], cell=cell, pbc=pbc)
    if not numbers or 0 in numbers:
        with pytest.raises(ValueError, match=r"no atoms|dummy"):
            atoms_to_graph(atoms, CUTOFF)
        return
    graph = atoms_to_graph(atoms, CUTOFF)
    assert graph.z.tolist() == numbers
    assert graph.pbc.tolist() == [list(pbc)]
