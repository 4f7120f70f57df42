"""Small random networks in double precision, and molecules for them."""

import pytest
from ase import Atoms
from ase.build import molecule

from equicalc.embedding import Embedder
from equicalc.models import Potential, PotentialConfig, Symphony, SymphonyConfig

NETWORKS = {
    "potential": lambda: Potential(
        PotentialConfig(elements=(1, 6, 8), channels=4, layers=2), backend="torch"
    ),
    "symphony": lambda: Symphony(SymphonyConfig(channels=4, layers=2), "torch"),
}


@pytest.fixture(params=NETWORKS)
def embedder(request):
    return Embedder(NETWORKS[request.param]().double(), batch_size=3)


@pytest.fixture
def ethanol():
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=3)
    return atoms


@pytest.fixture
def molecules(ethanol):
    names = ("CH3OH", "C6H6", "H2CO", "CH4")
    return [ethanol, Atoms("O"), *(molecule(name) for name in names)]
