"""A tiny generator with random weights."""

import pytest
import torch
from ase.build import molecule

from equicalc.generators import Builder
from equicalc.models import Symphony, SymphonyConfig


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(0)
    config = SymphonyConfig(
        elements=(1, 6, 8),
        channels=4,
        layers=2,
        ls=(0, 1),
        position_ls=(0, 1, 2),
        position_channels=4,
        densities=2,
        max_atoms=7,
    )
    return Symphony(config, backend="torch").eval()


@pytest.fixture(scope="session")
def builder(network):
    return Builder(network, "tiny")


@pytest.fixture
def methanol():
    return molecule("CH3OH")
