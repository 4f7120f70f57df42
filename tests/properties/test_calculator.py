"""The calculator: the same physics wherever, however turned or numbered."""

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from equicalc.calculators import EquiCalculator
from equicalc.checkpoint import save_checkpoint
from equicalc.models import Potential, PotentialConfig

ELEMENTS = (1, 6, 8)


@pytest.fixture(scope="module")
def calc(tmp_path_factory):
    config = PotentialConfig(
        elements=ELEMENTS, channels=4, layers=2, cutoff=3.5, energy_scale=5.0
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_checkpoint(path, Potential(config), {})
    return EquiCalculator(path, device="cpu", dtype="float64")


@st.composite
def structures(draw):
    """One to six atoms on a distorted grid, perhaps in a small cell."""
    places = draw(
        st.lists(st.integers(0, 26), min_size=1, max_size=6, unique=True).map(np.array)
    )
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    grid = np.stack(np.unravel_index(places, (3, 3, 3)), axis=1)
    positions = 1.2 * grid + random.uniform(-0.2, 0.2, (len(places), 3))
    pbc = draw(st.sampled_from([(0, 0, 0), (1, 1, 1), (1, 0, 1)]))
    cell = 3.6 * (np.eye(3) + random.uniform(-0.05, 0.05, (3, 3)))
    numbers = random.choice(ELEMENTS, len(places))
    return Atoms(numbers, positions=positions, cell=cell, pbc=pbc)


def answer(calc, atoms):
    found = calc.compute([atoms], ["energy", "forces"])[0]
    return float(found["energy"]), np.asarray(found["forces"])


@given(structures(), st.integers(0, 2**32), st.booleans())
def test_forces_turn_with_the_structure(calc, atoms, seed, mirrored):
    random = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(random.uniform(-2, 2, 3)).as_matrix()
    turn *= -1 if mirrored else 1
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ turn.T)
    moved.positions = atoms.positions @ turn.T + random.uniform(-30, 30, 3)
    energy, forces = answer(calc, atoms)
    energy_moved, forces_moved = answer(calc, moved)
    assert energy_moved == pytest.approx(energy, abs=1e-8)
    np.testing.assert_allclose(forces_moved, forces @ turn.T, atol=1e-7)


@given(structures(), st.randoms())
def test_order_and_images_of_atoms_do_not_matter(calc, atoms, random):
    order = random.sample(range(len(atoms)), len(atoms))
    other = atoms[order]
    steps = [[random.randint(-2, 2) * p for p in atoms.pbc] for _ in order]
    other.positions += np.array(steps, dtype=float) @ atoms.cell.array
    energy, forces = answer(calc, atoms)
    energy_other, forces_other = answer(calc, other)
    assert energy_other == pytest.approx(energy, abs=1e-8)
    np.testing.assert_allclose(forces_other, forces[order], atol=1e-7)


@given(structures(), st.sampled_from([(2, 1, 1), (1, 1, 3), (2, 1, 2)]))
def test_a_supercell_is_so_many_cells(calc, atoms, times):
    times = tuple(n if periodic else 1 for n, periodic in zip(times, atoms.pbc))
    energy, forces = answer(calc, atoms)
    energy_large, forces_large = answer(calc, atoms * times)
    n = int(np.prod(times))
    assert energy_large == pytest.approx(n * energy, abs=1e-7)
    np.testing.assert_allclose(forces_large, np.tile(forces, (n, 1)), atol=1e-7)


@given(st.lists(structures(), max_size=4))
def test_a_batch_is_its_structures(calc, batch):
    together = calc.compute(batch, ["energy", "forces"])
    assert len(together) == len(batch)
    for found, atoms in zip(together, batch):
        energy, forces = answer(calc, atoms)
        assert float(found["energy"]) == pytest.approx(energy, abs=1e-8)
        np.testing.assert_allclose(found["forces"], forces, atol=1e-7)
