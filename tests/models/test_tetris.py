"""Mirror images need more than scalars."""

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "31_tetris.py"


@pytest.mark.parametrize(
    ("multiplicities", "right"), [((8,), 7), ((8, 4), 8)], ids=["L0", "L1"]
)
def test_shapes_known_on_random_rotations(multiplicities, right):
    accuracy = runpy.run_path(str(EXAMPLE))["accuracy"]
    assert 8 * accuracy(multiplicities, steps=60, rotations=10) == right
