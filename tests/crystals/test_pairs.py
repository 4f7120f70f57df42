"""Compiled pairs around molecules."""

import pytest
import torch

from equicalc.crystals.compiled_pairs import compiled_pairs
from equicalc.kernels import cpp


@pytest.mark.skipif(cpp.find_compiler() is None, reason="there is no C++ compiler")
def test_more_pairs_than_there_is_room_for():
    crowd = torch.randn(1, 40, 3, dtype=torch.float64)
    molecules = torch.cat([crowd, crowd + 1.0])
    cell = 100 * torch.eye(3, dtype=torch.float64)
    found = compiled_pairs(molecules, cell, center=0, cutoff=20.0)
    assert found is not None
    atoms, molecule, others, vectors = found
    assert len(atoms) == 40 * 40
    assert molecule.unique().tolist() == [1]
    expected = molecules[1][others] - molecules[0][atoms]
    torch.testing.assert_close(vectors, expected)
