"""A builder of molecules with random weights, and a molecule."""

import pytest
from ase.build import molecule

from equicalc.generators import Builder


@pytest.fixture(scope="session")
def builder(tiny_symphony):
    return Builder(tiny_symphony, "tiny")


@pytest.fixture
def methanol():
    return molecule("CH3OH")
