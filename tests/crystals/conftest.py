"""Small networks and crystals for the tests of what is predicted."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import make_supercell

from equicalc.crystals import LatticeEnergyPredictor, MolecularCrystal
from equicalc.models import LatticeConfig, LatticeNetwork

# a bent molecule without any symmetry, so that images differ from turned copies
BENT = Atoms("OCHN", [[0, 0, 0], [1.2, 0, 0], [1.8, 0.9, 0.2], [1.83, -0.98, 0.27]])


@pytest.fixture(scope="session")
def predictor():
    torch.manual_seed(0)
    config = LatticeConfig(elements=(1, 6, 7, 8), cutoff=6.0, reach=5.0, members=2)
    network = LatticeNetwork(config)
    for member in network.members:
        last = cast("Any", member).surroundings.energy[-1]
        last.weight.data *= 30  # a learned part that matters
    return LatticeEnergyPredictor(network)


@pytest.fixture
def packed():
    def build(group=14, scale=1.0):
        pose = [6.1, 6.7, 7.3, 90, 101, 90, 0.21, 0.32, 0.13, 0.5, -0.4, 1.0]
        if group == 1:
            pose[3:6] = [80, 95, 102]
        pose[:3] = [scale * length for length in pose[:3]]
        return MolecularCrystal.from_parameters(BENT, group, pose)

    return build


@pytest.fixture
def several(packed):
    """Two independent molecules, of a crystal that has lost some of its symmetry."""
    doubled = make_supercell(packed(2).to_atoms(), np.diag([2, 1, 1]))
    doubled.positions[: len(BENT)] += 1e-3
    crystal = MolecularCrystal.from_atoms(doubled, symprec=1e-5)
    assert len(crystal.molecules) > 1
    return crystal
