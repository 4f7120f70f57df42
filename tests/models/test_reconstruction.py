"""Molecules are found again in swarms of points, where they are there."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from equicalc.data.atoms import atoms_to_graph
from equicalc.graph import collate
from equicalc.models import Mo3ENet, Mo3ENetConfig
from equicalc.models.cloud import point_cloud
from equicalc.models.reconstruction import (
    cluster_points,
    lift_symmetry,
    match_points,
    reconstruct,
)
from equicalc.models.swarm import Swarm

ELEMENTS = (1, 6, 8)


def cloud(*molecules):
    graphs = [atoms_to_graph(atoms, 3.0) for atoms in molecules]
    return point_cloud(collate(graphs), ELEMENTS, torch.float64)


def perfect(cloud, spread=0.0, copies=2):
    """Points on the atoms of one molecule, `copies` for each."""
    n = len(cloud.species)
    pos = cloud.pos.repeat(copies, 1)
    shift = spread * torch.randn(pos.shape, generator=torch.Generator().manual_seed(0))
    types = torch.nn.functional.one_hot(cloud.species, len(ELEMENTS)).double()
    shares = torch.full((1, copies * n), 1 / (copies * n), dtype=torch.float64)
    return Swarm((pos + shift)[None], types.repeat(copies, 1)[None], shares)


def test_points_on_the_atoms_match():
    atoms = cloud(molecule("CH3CH2OH"))
    matches = match_points(perfect(atoms), atoms)
    assert matches.matched.all()
    assert matches.whole(matches.matched).tolist() == [True]
    assert matches.deviation.max() < 1e-9


def test_deviation_is_that_of_the_centre_of_mass():
    """A merged point is divided by its mass: 10 % too much moves nothing."""
    atoms = cloud(molecule("CH3CH2OH"))
    swarm = perfect(atoms, copies=1)
    swarm.positions[0] += torch.tensor([0.1, 0, 0])
    swarm.shares[0] *= 1.1
    matches = match_points(swarm, atoms)
    assert matches.matched.all()
    expected = torch.full((len(atoms.species),), 0.1, dtype=torch.float64)
    torch.testing.assert_close(matches.deviation, expected)


def test_a_missing_atom_and_a_wrong_element_are_seen():
    atoms = cloud(molecule("CH3OH"))
    swarm = perfect(atoms, copies=1)
    swarm.positions[0, 0] += 9.0
    swarm.types[0, 1] = swarm.types[0, 1].roll(1)
    matches = match_points(swarm, atoms)
    assert matches.touched.tolist() == [False] + 5 * [True]
    assert matches.matched.tolist() == 2 * [False] + 4 * [True]
    assert not matches.whole(matches.matched).any()
    assert matches.deviation[0].isnan()


def test_clusters_are_the_molecule():
    atoms = molecule("CH3CH2OH")
    centred = cloud(atoms)
    swarm = perfect(centred, spread=0.03, copies=4)
    z, pos = cluster_points(swarm, len(atoms), ELEMENTS)
    assert sorted(z) == sorted(atoms.numbers)
    distance = np.linalg.norm(pos[:, None] - centred.pos.numpy()[None], axis=2)
    assert distance.min(axis=1).max() < 0.08
    assert (z == atoms.numbers[distance.argmin(axis=1)]).all()


def test_light_strays_join_the_nearest_group():
    atoms = molecule("H2O")
    swarm = perfect(cloud(atoms), copies=1)
    stray = swarm.positions[:, :1] + torch.tensor([0.0, 0.0, 2.0])
    extra = Swarm(
        torch.cat([swarm.positions, stray], 1),
        torch.cat([swarm.types, swarm.types[:, 1:2]], 1),
        torch.cat([swarm.shares, torch.tensor([[1e-3]]).double()], 1),
    )
    z, _ = cluster_points(extra, 3, ELEMENTS)
    assert sorted(z) == [1, 1, 8]


@pytest.mark.parametrize(
    ("name", "symmetric"), [("C6H6", True), ("CH4", True), ("C2H4", True)]
)
def test_noise_lifts_symmetry(name, symmetric):
    before = cloud(molecule(name))
    after = lift_symmetry(before)
    shift = (after.pos - before.pos).norm(dim=1)
    assert bool(shift.min() > 0) == symmetric
    assert shift.max() < 0.03


def test_molecules_without_symmetry_are_left_alone():
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=0)
    before = cloud(atoms, molecule("CH4"))
    after = lift_symmetry(before)
    n = len(atoms)
    torch.testing.assert_close(after.pos[:n], before.pos[:n], rtol=0, atol=0)
    alone = lift_symmetry(cloud(molecule("CH4")))
    torch.testing.assert_close(after.pos[n:], alone.pos)


def test_inversion_cancels_and_noise_does_not():
    """Benzene's vectors add up to zero; a little noise gives the decoder a pose."""
    torch.manual_seed(0)
    config = Mo3ENetConfig(elements=ELEMENTS, bottleneck=8, channels=8)
    model = Mo3ENet(config, backend="torch").double()
    benzene = cloud(molecule("C6H6"))
    assert model.encode(benzene).abs().max() < 1e-9
    assert model.encode(lift_symmetry(benzene)).abs().max() > 1e-4


def test_an_answer_is_in_the_place_of_the_molecule():
    torch.manual_seed(0)
    model = Mo3ENet(Mo3ENetConfig(elements=ELEMENTS, bottleneck=8), backend="torch")
    atoms = molecule("CH3OH")
    moved = atoms.copy()
    moved.positions += [10.0, 0, 0]
    [here], [there] = reconstruct(model, [atoms]), reconstruct(model, [moved])
    np.testing.assert_allclose(there.pos, here.pos + np.array([10.0, 0, 0]), atol=1e-3)
    assert here.z.tolist() == there.z.tolist()
