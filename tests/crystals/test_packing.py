"""Random crystals: right energies and gradients, packed, distinct, repeatable."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from equicalc.crystals import (
    ExpSix,
    LennardJones,
    MolecularCrystal,
    dimers,
    pair_energy,
    random_crystals,
)
from equicalc.crystals.errors import RadicalError, SaltError, SeveralSpeciesError
from equicalc.crystals.minimise import BatchedBFGS
from equicalc.crystals.rigid import REACH, RigidCrystals
from equicalc.crystals.symmetry import operations
from equicalc.data.smiles import atoms_from_smiles
from equicalc.kernels.cpp import find_compiler

WATER = molecule("H2O")
GROUPS = [1, 2, 4, 14, 19, 61, 76, 146, 148, 173, 198, 225]


def spread(spacegroup, potential, n=3):
    """Crystals whose molecules are a few Angstrom apart, and their numbers."""
    generator = torch.Generator().manual_seed(spacegroup)
    crystals = RigidCrystals(
        WATER, spacegroup, potential, torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    )
    x = torch.randn(n, crystals.n_cell + 6, generator=generator)
    lengths = crystals.basis.diagonal(dim1=1, dim2=2).sum(1) > 0
    entries, place = x[:, : crystals.n_cell], x[:, crystals.n_cell : -3]
    entries.copy_(crystals.edge * (0.1 * entries + 1.4 * lengths))
    place.copy_(crystals.edge * (torch.tensor([0.22, 0.13, 0.31]) + 0.02 * place))
    crystals.refresh(x)
    return crystals, x


@pytest.mark.parametrize("spacegroup", GROUPS)
def test_energy_is_that_of_the_crystal(spacegroup):
    potential = LennardJones(cutoff=40.0)
    crystals, x = spread(spacegroup, potential)
    energies, _ = crystals.energy(x)
    for row in range(len(x)):
        posed = WATER.copy()
        cell = crystals.cells(x)[row].double().numpy()
        centroid = crystals.centroids(x)[row].double().numpy()
        posed.positions = crystals.poses(x)[row].double().numpy() + centroid @ cell
        crystal = MolecularCrystal(cell, spacegroup, operations(spacegroup), (posed,))
        total = 0.0
        positions = crystal.unit_cell[0]
        sites = potential.sites(posed)
        pair = potential.combine(sites[:, None], sites)
        for one in crystal.neighbours(REACH):
            other = positions[one.molecule] + one.shift @ cell
            squared = ((positions[0][:, None] - other) ** 2).sum(-1)
            total += potential.terms(torch.as_tensor(squared), pair)[0].sum().item()
        if crystal.contact > 0.3 and crystal.n_molecules == len(operations(spacegroup)):
            assert energies[row].item() == pytest.approx(total / 2, rel=2e-3)


@pytest.mark.parametrize("potential", [LennardJones(), ExpSix()], ids=lambda p: str(p))
@pytest.mark.parametrize("spacegroup", [1, 14, 148])
def test_gradient_is_the_slope_of_the_energy(spacegroup, potential):
    crystals, x = spread(spacegroup, potential, n=2)
    _, gradient = crystals.energy(x)
    step = 2e-3
    for column in range(x.shape[1]):
        change = torch.zeros_like(x)
        change[:, column] = step
        slope = crystals.energy(x + change)[0] - crystals.energy(x - change)[0]
        torch.testing.assert_close(
            slope / (2 * step), gradient[:, column], rtol=0.02, atol=3e-4
        )


@pytest.mark.parametrize("spacegroup", [1, 14, 148])
def test_compiled_sums_are_those_of_torch(spacegroup, monkeypatch):
    potential = LennardJones(epsilon=1)  # a whole number is no literal of C++ floats
    crystals, x = spread(spacegroup, potential)
    if find_compiler() is None:
        pytest.skip("nothing can be compiled here")
    assert dimers._library(potential.formula) is not None
    compiled = crystals.energy(x)
    monkeypatch.setattr(dimers, "_library", lambda _: None)
    for one, other in zip(compiled, crystals.energy(x)):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_bfgs_finds_the_minima_of_a_batch():
    class Valleys:
        def energy(self, x):
            values = (1 - x[:, 0]) ** 2 + 10 * (x[:, 1] - x[:, 0] ** 2) ** 2
            by_y = 20 * (x[:, 1] - x[:, 0] ** 2)
            by_x = -2 * (1 - x[:, 0]) - 2 * x[:, 0] * by_y
            return values, torch.stack([by_x, by_y], dim=1)

    search = BatchedBFGS(torch.tensor([[-1.2, 1.0], [0.0, 0.0], [2.0, 2.0]]).double())
    search.evaluate(Valleys())
    for _ in range(60):
        search.step(Valleys())
    torch.testing.assert_close(search.x, torch.ones(3, 2).double())


@pytest.mark.parametrize("spacegroup", [1, 14, 61])
def test_crystals_are_packed_and_distinct(spacegroup):
    crystals = random_crystals("CC(N)=O", spacegroup, n=6, seed=3)
    assert len(crystals) == 6
    energies = [crystal.info["pair_energy"] for crystal in crystals]
    assert energies == sorted(energies)
    assert energies[-1] < 0
    for crystal in crystals:
        assert crystal.n_molecules == len(operations(spacegroup))
        assert 0.5 < crystal.packing < 0.95
        assert crystal.packing == pytest.approx(crystal.info["packing"], rel=5e-3)
        assert crystal.contact > 0.75
    again = random_crystals("CC(N)=O", spacegroup, n=6, seed=3)
    assert [crystal.info["pair_energy"] for crystal in again] == energies


def test_crystals_are_minima():
    potential = LennardJones()
    (crystal,) = random_crystals(WATER, 14, n=1, seed=0)
    start = crystal.parameters()
    for column in range(12):
        if column in (3, 5):  # right angles in this group
            continue
        change = np.zeros(12)
        change[column] = 0.02 if column >= 6 else 0.2
        for sign in (1, -1):
            moved = MolecularCrystal.from_parameters(WATER, 14, start + sign * change)
            energy = pair_energy(moved, potential).energy
            assert energy > crystal.info["pair_energy"] - 2e-3


def test_a_group_that_nothing_packs_in_gives_no_crystals():
    """192 methanols in one cell overlap however far it is widened."""
    assert random_crystals("CO", 225, n=1) == []


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="space group 231"):
        random_crystals("O", 231, n=1)
    with pytest.raises(ValueError, match="n = 0"):
        random_crystals("O", 1, n=0)
    with pytest.raises(ValueError, match="not a valid SMILES"):
        random_crystals("CCX", 1, n=1)


def test_what_is_not_one_molecule_is_refused():
    water, lost = molecule("H2O", vacuum=3.0, pbc=True), molecule("H2O")
    lost.positions[0] = np.nan
    with pytest.raises(ValueError, match="periodic"):
        random_crystals(water, 14, n=1)
    with pytest.raises(ValueError, match="not finite"):
        random_crystals(lost, 14, n=1)
    far = molecule("H2O") + molecule("CH4")
    far.positions[3:] += 9
    for two in ("O.CO", far):
        with pytest.raises(ValueError, match="2 molecules are given"):
            random_crystals(two, 14, n=1)
    with pytest.raises(ValueError, match="no atoms"):
        random_crystals(Atoms(), 14, n=1)


def test_ions_are_not_packed():
    pair = atoms_from_smiles("[Na+].[Cl-]")
    with pytest.raises(SeveralSpeciesError, match="2 molecules"):
        random_crystals(pair, 14, n=1)
    for ion in ("[NH4+]", atoms_from_smiles("CC(=O)[O-]")):
        with pytest.raises(SaltError, match="charge"):
            random_crystals(ion, 14, n=1)


@pytest.mark.parametrize("radical", ["CC[Se]", "[CH3]", "[CH2]", molecule("NO")])
def test_radicals_are_not_packed(radical):
    with pytest.raises(RadicalError, match="unpaired electron"):
        random_crystals(radical, 1, n=1)


def test_energies_do_not_depend_on_the_cell_a_centroid_is_in():
    crystals, x = spread(2, LennardJones())
    before, _ = crystals.energy(x)
    away = x.clone()
    away[:, crystals.n_cell] += 2 * crystals.edge
    away = crystals.inside(away)
    crystals.refresh(away)
    assert torch.allclose(crystals.energy(away)[0], before, rtol=1e-4)


def test_the_default_precision_of_torch_does_not_matter():
    before = random_crystals(WATER, 14, n=2, seed=0)
    torch.set_default_dtype(torch.float64)
    try:
        after = random_crystals(WATER, 14, n=2, seed=0)
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(before, after):
        assert np.allclose(one.cell, other.cell)
