"""Compiled pairs around molecules, of one crystal or of many."""

import pytest
import torch

from equicalc.crystals import neighbours
from equicalc.crystals.compiled_pairs import Centers, compiled_pairs
from equicalc.crystals.graphs import crystal_graph, lattice_graph
from equicalc.kernels import cpp
from equicalc.models.lattice_graph import LatticeGraph


@pytest.mark.skipif(cpp.find_compiler() is None, reason="there is no C++ compiler")
def test_more_pairs_than_there_is_room_for():
    crowd = torch.randn(1, 40, 3, dtype=torch.float64)
    molecules = torch.cat([crowd, crowd + 1.0])
    around = Centers(
        positions=molecules.flatten(0, 1),
        cells=100 * torch.eye(3, dtype=torch.float64).unsqueeze(0),
        crystals=torch.tensor([[2, 40, 0, 0]]),
        centers=torch.tensor([[0, 0, 0]]),
        origins=torch.zeros(2, dtype=torch.int64),
    )
    found = compiled_pairs(around, 20.0, torch.float64)
    assert found is not None
    assert len(found.dst) == 40 * 40
    assert found.image.unique().tolist() == [1]
    expected = molecules[1][found.src] - molecules[0][found.dst]
    torch.testing.assert_close(found.vectors, expected)


@pytest.mark.parametrize("compiled", [True, False])
def test_graph_of_many_is_that_of_each(compiled, packed, several, monkeypatch):
    if not compiled:
        monkeypatch.setattr(neighbours, "compiled_pairs", lambda *_: None)
    crystals = [packed(14), several, packed(19, 1.2)]
    batch = lattice_graph(crystals, 6.0)
    singles = [crystal_graph(one, 6.0) for one in crystals]
    expected = LatticeGraph.collate(singles).columns()
    for name, column in batch.columns().items():
        torch.testing.assert_close(column, expected[name])
    single = lattice_graph(crystals, 6.0, torch.float32)
    assert single.vectors.dtype == single.pos.dtype == torch.float32
    torch.testing.assert_close(single.vectors, batch.vectors.float())


def test_no_crystals_no_graph():
    with pytest.raises(ValueError, match="at least one"):
        lattice_graph([], 6.0)
