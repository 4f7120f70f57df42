"""Atoms in harmonic wells, for which everything is known; frames of a file."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.io import read


class Springs(Calculator):
    """Harmonic wells at the origin; `fail_after` calls it returns NaN or dies."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, k=1.0, fail_after=10**9, failure=None):
        super().__init__()
        self.k, self.left, self.failure = k, fail_after, failure

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        self.left -= 1
        if self.left < 0 and self.failure is not None:
            raise self.failure
        scale = np.nan if self.left < 0 else self.k
        x = self.atoms.positions
        self.results = {"energy": 0.5 * scale * (x**2).sum(), "forces": -scale * x}


@pytest.fixture(scope="session")
def springs():
    """The class, to make calculators that fail when told to."""
    return Springs


@pytest.fixture(scope="session")
def lone_atoms():
    """Return a function: number -> atoms that do not see each other."""

    def make(n=30):
        return Atoms("Ar" * n, positions=np.random.default_rng(0).normal(size=(n, 3)))

    return make


@pytest.fixture(scope="session")
def read_all():
    """Return a function: file -> all of its frames."""

    def frames_of(path):
        frames = read(path, ":")
        assert isinstance(frames, list)
        return frames

    return frames_of
