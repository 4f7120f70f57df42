"""The published network keeps the symmetries; its densities are what they say."""

import itertools
import math

import numpy as np
import pytest
import torch
from ase.build import molecule

from equicalc.data.fragment_batch import FragmentBatch, Molecules
from equicalc.models import Generator, SymphonyPaper, SymphonyPaperConfig
from equicalc.nn.shells import ShellDensity
from equicalc.nn.sphere import SphereDensity, sphere_grid
from equicalc.o3 import rand_matrix

SMALL = {
    "elements": (1, 6, 8),
    "focus_channels": 4,
    "focus_layers": 2,
    "position_ls": (0, 1, 2, 3),
    "position_channels": 4,
    "position_layers": 2,
    "shells": 12,
    "n_theta": 16,
}
PAIRS = [("e3schnet", "nequip"), ("equicalc", "e3schnet"), ("nequip", "equicalc")]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def network(request):
    torch.manual_seed(0)
    focus, position = request.param
    config = SymphonyPaperConfig(
        **SMALL, focus_embedder=focus, position_embedder=position
    )
    return SymphonyPaper(config, backend="torch")


def ethanol():
    """Part of ethanol: species and positions."""
    atoms = molecule("CH3CH2OH")[:6]
    species = torch.tensor(np.searchsorted([1, 6, 8], atoms.numbers))
    return species, torch.tensor(atoms.positions, dtype=torch.float32)


def answers(network, species, pos, vectors):
    """Focus logits, and log densities of positions at every atom."""
    n, cutoff = len(species), network.config.cutoff
    molecules = Molecules(species[None], pos[None], pos.new_zeros(1, 0, 3))
    batch = FragmentBatch.build(
        molecules,
        torch.tensor([0]),
        torch.tensor([n]),
        torch.tensor([0]),
        cutoff,
        network.config.hydrogen_cutoff,
    )
    h = network.embed(batch)
    zeros, foci = torch.zeros(n, dtype=torch.int64), torch.arange(n)
    placement = network.place(h, batch.queries(zeros, foci, species, cutoff))
    return network.focus_logits(h, batch), *placement.log_prob(vectors)


def directions(n):
    return torch.nn.functional.normalize(torch.randn(n, 3), dim=1)


def test_it_is_a_generator(network):
    assert isinstance(network, Generator)
    assert not network.hydrogens_apart


@pytest.mark.parametrize("inversion", [1, -1])
@torch.no_grad()
def test_densities_turn_with_the_fragment(network, inversion):
    species, pos = ethanol()
    vectors = 1.2 * directions(len(species))
    R = inversion * rand_matrix(1)[0].T
    before = answers(network, species, pos, vectors)
    after = answers(network, species, pos @ R + 2.0, vectors @ R)
    assert before[0].std() > 1e-4  # they say something
    assert before[2].std() > 1e-4
    torch.testing.assert_close(before[0], after[0], atol=1e-4, rtol=1e-4)
    for a, b in zip(before[1:], after[1:]):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_the_order_of_atoms_does_not_matter(network):
    species, pos = ethanol()
    vectors = 1.2 * directions(len(species))
    p = torch.randperm(len(species))
    before = answers(network, species, pos, vectors)
    after = answers(network, species[p], pos[p], vectors[p])
    for a, b in zip(before, after):
        torch.testing.assert_close(a[p], b, atol=2e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def density():
    return ShellDensity([0, 1, 2, 3], 6, 0.9, 1.4, n_theta=16, backend="torch")


def coefficients(density, scale=1.0, channels=2):
    torch.manual_seed(1)
    return scale * torch.randn(1, len(density.radii), 16, channels)


def test_the_integral_is_one(density):
    a = coefficients(density)
    points, weights = sphere_grid(40)
    r = density.radii.repeat_interleave(len(points))
    vectors = r.unsqueeze(1) * points.repeat(len(density.radii), 1)
    radial, angular = density.log_prob(a.expand(len(r), -1, -1, -1), vectors)
    weights = weights.repeat(len(density.radii)) * density.step
    assert float(weights @ (radial + angular).exp()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_samples_follow_the_density(density, temperature):
    """Chi-square over shells and octants."""
    n, n_shells = 6000, len(density.radii)
    a = coefficients(density, 0.3 * temperature)
    torch.manual_seed(2)
    drawn = density.sample(a.expand(n, -1, -1, -1), torch.rand(n, 6), temperature)
    points, weights = sphere_grid(48)
    f = torch.einsum("gs,ksc->kgc", density.harmonics(points), a[0]).logsumexp(2)
    p = (f / temperature + weights.log()).flatten().softmax(0)
    bits = torch.tensor([1, 2, 4])

    def cells(u, shell):
        return 8 * shell + ((u > 0) * bits).sum(1)

    shells = torch.arange(n_shells).repeat_interleave(len(points))
    expected = n * torch.bincount(cells(points.repeat(n_shells, 1), shells), p)
    r = drawn.norm(dim=1)
    shell = ((r - density.radii[0]) / density.step).round().long()
    torch.testing.assert_close(density.radii[shell], r)  # on the shells exactly
    found = torch.bincount(cells(drawn, shell), minlength=8 * n_shells)
    assert expected.min() > 5
    chi2 = ((found - expected).square() / expected).sum()
    assert chi2 < 47 + 3.1 * math.sqrt(2 * 47)  # 0.1 % of 47 degrees of freedom


def test_the_divergence_is_that_of_the_targets(density):
    """Zero at the targets' own coefficients, positive elsewhere."""
    places = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.1, 0.0], [1.2, 0.0, 0.0]])
    row = torch.tensor([0, 1, 1])
    q = density._targets(places, row, 2)
    torch.testing.assert_close(q.sum((1, 2)), torch.ones(2))
    assert torch.equal(q.sum(2).argmax(1)[:1], torch.tensor([1]))
    uniform = density.divergence(torch.zeros(2, 6, 16, 1), places, row)
    # a mixture is broader than a single target
    assert uniform[0] > uniform[1] > 0
    Y = density.harmonics(places[:1]) * density.sharpness / (4 * math.pi)
    height = -0.5 * ((density.radii - 1.0) / density.spread).square().clamp(max=1e5)
    own = Y.repeat(6, 1)
    own[:, 0] += height
    single = density.divergence(own[None, :, :, None], places[:1], row[:1])
    assert float(single) == pytest.approx(0, abs=1e-3)


def test_distances_beyond_the_shells_are_impossible(density):
    a = coefficients(density).expand(2, -1, -1, -1)
    radial, _ = density.log_prob(a, torch.tensor([[0.0, 0, 3.0], [0, 0, 1.0]]))
    assert radial[0] == -torch.inf
    assert radial[1].isfinite()


def test_two_channels_do_for_an_octahedron_what_one_cannot():
    """Atoms on both ends of an axis, one across: degrees up to 2 need two channels."""
    star, square = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([[1.0, 0.0, 0.0]])
    targets = torch.cat([torch.stack([star, -star]), square])
    points, weights = sphere_grid(12)
    fine = SphereDensity([0, 1, 2, 3, 4, 5], backend="torch").harmonics
    low = SphereDensity([0, 1, 2], backend="torch").harmonics(points)
    sharp = 20 / (4 * math.pi) * fine(targets) @ fine(points).T
    q = (sharp + weights.log()).softmax(1).mean(0)

    def divergence(channels):
        torch.manual_seed(0)
        a = torch.randn(9, channels, requires_grad=True)
        optimizer, loss = torch.optim.Adam([a], lr=0.3), torch.tensor(0.0)
        for _ in range(300):
            log_p = (low @ a).logsumexp(1) + weights.log()
            loss = (torch.xlogy(q, q) - q * log_p.log_softmax(0)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    one, two = divergence(1), divergence(2)
    assert two < 0.6 * one


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"focus_embedder": "mace"}, "unknown embedder 'mace'"),
        ({"start": (1.0,)}, "1 start frequencies"),
        ({"nearest": 3.0}, "64 shells from 3.0 to 2.0"),
    ],
)
def test_impossible_shapes_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        SymphonyPaperConfig(**changes)


def test_all_embedders_can_stand_for_each_other():
    shapes = {
        tuple(network_shape(focus, position))
        for focus, position in itertools.product(("e3schnet", "nequip"), repeat=2)
    }
    assert len(shapes) == 1


def network_shape(focus, position):
    config = SymphonyPaperConfig(
        **SMALL, focus_embedder=focus, position_embedder=position
    )
    species, pos = ethanol()
    vectors = 1.2 * directions(len(species))
    found = answers(SymphonyPaper(config, backend="torch"), species, pos, vectors)
    return [tuple(value.shape) for value in found]
