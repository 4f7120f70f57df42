"""Batches of molecules, and the same molecules elsewhere and turned."""

import pytest
import torch

from equicalc.data.atoms import atoms_to_graph
from equicalc.graph import collate


@pytest.fixture(scope="session")
def graph_of():
    """Return a function: molecules -> one batch."""
    return lambda *molecules: collate([atoms_to_graph(a, 3.0) for a in molecules])


@pytest.fixture(params=[1, -1], ids=["one way", "inverted"])
def turn(request):
    """A rotation, and the same with an inversion; which is which does not matter."""
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    return request.param * torch.linalg.qr(matrix).Q


@pytest.fixture(scope="session")
def turned():
    """Return a function: molecule and orthogonal matrix -> moved and turned copy."""

    def move(atoms, turn):
        moved = atoms.copy()
        moved.positions = atoms.positions @ turn.numpy().T + [3.0, -5.0, 1.0]
        return moved

    return move
