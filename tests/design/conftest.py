"""A toy design, and a comparison of whole runs."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

TOY = Path(__file__).parent / "toy.py"


@pytest.fixture(scope="session")
def toy():
    """The module, under a name by which configurations can find it."""
    spec = importlib.util.spec_from_file_location("equicalc_toy_design", TOY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="session")
def same_records():
    """Whether two databases hold the same, but for the times of writing."""

    def same(one, other):
        pairs = list(zip(one.records(), other.records(), strict=True))
        return all(_plain(a) == _plain(b) for a, b in pairs) and bool(pairs)

    return same


def _plain(record):
    fields = {name: value for name, value in vars(record).items() if name != "atoms"}
    arrays = {name: a.tobytes() for name, a in sorted(record.atoms.arrays.items())}
    info = {
        name: value.tobytes() if isinstance(value, np.ndarray) else value
        for name, value in record.atoms.info.items()
    }
    cell = record.atoms.cell.array.tobytes(), record.atoms.pbc.tolist()
    return fields, arrays, info, cell
