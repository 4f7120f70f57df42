"""What every test may rely on."""

import os

# One thread: results and times then do not depend on what else the machine does.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_random_numbers():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_symphony():
    """A generator of molecules with random weights."""
    from equicalc.models import Symphony, SymphonyConfig

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


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
