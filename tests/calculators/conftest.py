"""A tiny random network, as an object and as a checkpoint, and structures for it."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from equicalc.calculators import EquiCalculator, prediction
from equicalc.checkpoint import save_checkpoint
from equicalc.models import Potential, PotentialConfig, evaluate


def random_network(seed, **changes):
    settings = {
        "elements": (1, 6, 8),
        "channels": 4,
        "layers": 2,
        "energy_scale": 5.0,
        "reference_energies": (-13.0, -1030.0, -2040.0),
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Potential(PotentialConfig(**settings | changes))


@pytest.fixture(scope="session")
def network():
    return random_network(0)


@pytest.fixture(scope="session")
def other_network():
    """Another seed and another cutoff."""
    return random_network(1, cutoff=4.0)


@pytest.fixture(scope="session")
def checkpoint(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    return save_checkpoint(path, network, {"level_of_theory": "random"})


@pytest.fixture
def evaluations(monkeypatch):
    """Count evaluations of the network."""
    calls = []

    def counting(*args, **kwargs):
        calls.append(args)
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(prediction, "evaluate", counting)
    return calls


@pytest.fixture
def calc(checkpoint):
    return EquiCalculator(checkpoint, device="cpu", dtype="float64")


@pytest.fixture
def ethanol():
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.03, seed=3)
    return atoms


@pytest.fixture
def crystal():
    """Two molecules of water in a cell smaller than the cutoff."""
    atoms = molecule("H2O") + molecule("H2O")
    atoms.positions[3:] += (1.6, 1.9, 1.4)
    atoms.rattle(0.05, seed=4)
    atoms.set_cell([[4.1, 0.2, 0.0], [0.5, 4.4, 0.0], [-0.3, 0.6, 4.8]])
    atoms.pbc = True
    return atoms


@pytest.fixture
def structures(ethanol, crystal):
    """Molecules, a crystal, a slab, one atom: every kind of batch member."""
    slab = crystal.copy()
    slab.pbc = (True, True, False)
    far = molecule("CO")
    far.positions += 1e5
    return [ethanol, crystal, Atoms("O"), slab, far, molecule("C6H6"), crystal * 2]


@pytest.fixture
def reference():
    """Assert that two sets of results agree to a tolerance."""

    def agree(found, expected, tolerance):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=tolerance, err_msg=name)

    return agree
