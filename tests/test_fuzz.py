"""Broken files: read, or refused by an error that names them; never anything else.

Some for each reader; `make fuzz` tries many.
"""

import importlib
import sys
from pathlib import Path

import pytest

from equicalc.data.arrays import load_arrays

VALIDATION = Path(__file__).parents[1] / "examples" / "validation"
sys.path.insert(0, str(VALIDATION))
try:
    crafted, readers, trial = (
        importlib.import_module(f"fuzzing.{name}")
        for name in ("crafted", "readers", "trial")
    )
finally:
    sys.path.remove(str(VALIDATION))


@pytest.mark.parametrize("name", readers.READERS)
def test_broken_files_are_refused_by_name(name, tmp_path):
    found = list(trial.trials(readers.READERS[name], tmp_path, n=6, seed=1, quick=True))
    assert [one for one in found if one.outcome == "failed"] == []
    assert found[0].outcome == "accepted"  # the whole file


def test_a_bomb_is_refused_before_it_is_read(tmp_path):
    path = crafted.npz_bomb(tmp_path / "bomb.npz", ["z", "R", "E", "F"])
    assert path.stat().st_size < crafted.BOMB / 100
    with pytest.raises(ValueError, match=r"bomb\.npz .*bytes in a file of"):
        load_arrays(path, ["E"])
