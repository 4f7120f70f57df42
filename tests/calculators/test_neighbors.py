"""The Verlet list is exact whenever it is reused, and rebuilt whenever it must be."""

import numpy as np
import pytest
from ase.calculators.calculator import InputError
from ase.md.verlet import VelocityVerlet
from ase.units import fs

from equicalc import EquiCalculator
from equicalc.calculators.neighbors import VerletList


def edges(neighbors):
    return list(zip(neighbors.dst, neighbors.src, map(tuple, neighbors.shifts)))


def test_reused_list_has_exactly_the_pairs_within_the_cutoff(crystal):
    rng = np.random.default_rng(0)
    lists = VerletList(5.0, skin=0.6), VerletList(5.0)
    for _ in range(12):
        crystal.positions += rng.normal(0, 0.06, (len(crystal), 3))
        reused, fresh = (neighbors(crystal) for neighbors in lists)
        assert edges(reused) == edges(fresh)
        assert edges(reused) == sorted(edges(reused))
    assert 1 < lists[0].builds < 12
    assert lists[1].builds == 12


def test_list_is_rebuilt_when_it_must_be(crystal):
    neighbors = VerletList(4.0, skin=0.5)
    neighbors(crystal)
    neighbors(crystal)
    assert neighbors.builds == 1
    changes = (
        lambda a: a.positions.__setitem__((2, 0), a.positions[2, 0] + 0.26),
        lambda a: a.set_cell(a.cell * 1.001),
        lambda a: a.set_pbc((True, False, True)),
        lambda a: a.pop(),
        lambda a: a.wrap(),
    )
    for count, change in enumerate(changes, start=2):
        change(crystal)
        assert edges(neighbors(crystal)) == edges(VerletList(4.0)(crystal))
        assert neighbors.builds == count


def test_small_steps_add_up(crystal):
    neighbors = VerletList(4.0, skin=0.5)
    for _ in range(4):
        crystal.positions[0, 0] += 0.1
        neighbors(crystal)
    assert neighbors.builds == 2


def test_broken_structure_does_not_reuse_the_last_one(crystal):
    neighbors = VerletList(4.0, skin=0.5)
    neighbors(crystal)
    crystal.positions[0, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        neighbors(crystal)


def test_negative_skin_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        VerletList(4.0, -0.1)


def test_dynamics_with_a_skin_is_the_same(checkpoint, crystal):
    trajectories = []
    for skin in (0.0, 1.0):
        atoms = crystal.copy()
        calc = EquiCalculator(checkpoint, device="cpu", dtype="float64", skin=skin)
        atoms.calc = calc
        momenta = np.random.default_rng(5).normal(0, 1.0, (len(atoms), 3))
        atoms.set_momenta(momenta)
        VelocityVerlet(atoms, fs).run(15)
        trajectories.append(atoms.positions)
    [reused] = calc._lists.values()
    assert 1 < reused.builds < 12
    np.testing.assert_allclose(*trajectories, atol=1e-9)
