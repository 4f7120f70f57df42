"""Batches of molecules, the same molecules elsewhere and turned; a small potential."""

import threading

import pytest
import torch

from equicalc.data.atoms import atoms_to_graph
from equicalc.graph import collate, make_graph
from equicalc.models import Potential, PotentialConfig, evaluate

CUTOFF = 3.0
SHAPES = {
    "vectors": {"ls": (0, 1)},
    "hidden radial layer": {"ls": (0, 1, 3), "radial_hidden": (6,)},
    "bare": {"dipole": False, "repulsion": False, "reference_energies": ()},
}
OUTPUTS = ("energy", "energies", "forces", "embedding")
ELECTROSTATICS = ("charges", "dipole")


@pytest.fixture(scope="session")
def graph_of():
    """Return a function: molecules -> one batch."""
    return lambda *molecules: collate([atoms_to_graph(a, CUTOFF) for a in molecules])


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


@pytest.fixture(params=SHAPES.values(), ids=list(SHAPES))
def shape(request):
    """Options of a potential: more layers and fewer of them."""
    return request.param


@pytest.fixture(scope="session")
def potential():
    """Return a function: options -> a small potential of H, C and O."""

    def build(backend="auto", dtype=torch.float64, **changes):
        references = (-10.0, -40.0, -80.0)
        shape = {"layers": 2, "channels": 4, "reference_energies": references} | changes
        config = PotentialConfig(
            elements=(1, 6, 8), cutoff=CUTOFF, energy_scale=2.0, **shape
        )
        return Potential(config, backend).to(dtype).requires_grad_(False)

    return build


@pytest.fixture(scope="session")
def cluster():
    """Return a function: number -> random elements near the points of a lattice."""

    def build(n_atoms, spacing=1.1, cell=None, pbc=None):
        z = torch.tensor([1, 6, 8])[torch.randint(0, 3, (n_atoms,))]
        sites = torch.cartesian_prod(*[torch.arange(4.0, dtype=torch.float64)] * 3)
        apart = 0.3 * torch.rand(n_atoms, 3, dtype=torch.float64)
        pos = spacing * sites[:n_atoms] + apart
        graph = make_graph(z, pos, cell, pbc, cutoff=CUTOFF)
        return graph.update({"pos": pos})

    return build


@pytest.fixture(scope="session")
def crystal(cluster):
    """Return a function: number and length -> a cube of atoms, repeated."""

    def build(n_atoms, length=3.5):
        return cluster(n_atoms, cell=length * torch.eye(3), pbc=[True] * 3)

    return build


@pytest.fixture(scope="session")
def assert_same():
    """Return a function that compares an engine with the potential that it runs."""

    def check(engine, graph, tolerance=1e-12):
        names = OUTPUTS + ELECTROSTATICS * engine.model.config.dipole
        names += ("stress",) * bool(graph["pbc"].all())
        found, wanted = (evaluate(m, graph, names) for m in (engine, engine.model))
        for name in names:
            torch.testing.assert_close(
                found[name], wanted[name], rtol=tolerance, atol=tolerance, msg=name
            )

    return check


@pytest.fixture(scope="session")
def in_threads():
    """Return a function that calls another with 0 to n - 1, each in its thread."""

    def run(work, n):
        threads = [threading.Thread(target=work, args=(k,)) for k in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run
