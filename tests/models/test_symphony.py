"""The network of the generator keeps the symmetries of space."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import molecule

from equicalc.data.fragment_batch import FragmentBatch, Molecules
from equicalc.models import Symphony, SymphonyConfig
from equicalc.o3 import rand_matrix

CONFIG = SymphonyConfig(
    elements=(1, 6, 8),
    channels=4,
    layers=2,
    ls=(0, 1, 2),
    position_ls=(0, 1, 2, 3),
    position_channels=4,
    densities=2,
)


@pytest.fixture(scope="module", params=[(), (6,)], ids=["linear", "perceptron"])
def network(request):
    torch.manual_seed(0)
    config = replace(CONFIG, radial_hidden=request.param)
    return Symphony(config, backend="torch")


def fragment(heavy, heavy_pos, hydrogen_pos):
    molecules = Molecules(heavy[None], heavy_pos[None], hydrogen_pos[None])
    return FragmentBatch.build(
        molecules,
        torch.tensor([0]),
        torch.tensor([len(heavy)]),
        torch.tensor([len(hydrogen_pos)]),
        CONFIG.cutoff,
        CONFIG.hydrogen_cutoff,
    )


def ethanol():
    atoms = molecule("CH3CH2OH")
    heavy = atoms.numbers > 1
    pos = torch.tensor(atoms.positions, dtype=torch.float32)
    species = torch.tensor(np.searchsorted([1, 6, 8], atoms.numbers[heavy]))
    return species, pos[torch.tensor(heavy)], pos[torch.tensor(~heavy)][:4]


def answers(network, heavy, heavy_pos, hydrogen_pos, vectors):
    """Focus logits, and log densities of positions at every heavy atom."""
    batch = fragment(heavy, heavy_pos, hydrogen_pos)
    h = network.embed(batch)
    n = len(heavy)
    queries = batch.queries(
        torch.zeros(n, dtype=torch.int64), torch.arange(n), heavy, CONFIG.cutoff
    )
    return (
        network.focus_logits(h, batch),
        *network.place(h, queries).log_prob(vectors),
    )


@pytest.mark.parametrize("inversion", [1, -1])
@torch.no_grad()
def test_densities_turn_with_the_fragment(network, inversion):
    heavy, heavy_pos, hydrogen_pos = ethanol()
    vectors = 1.2 * torch.nn.functional.normalize(torch.randn(3, 3), dim=1)
    R = inversion * rand_matrix(1)[0].T
    shift = torch.tensor([1.0, -2.0, 3.0])
    before = answers(network, heavy, heavy_pos, hydrogen_pos, vectors)
    after = answers(
        network, heavy, heavy_pos @ R + shift, hydrogen_pos @ R + shift, vectors @ R
    )
    for a, b in zip(before[:2], after[:2]):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4)
    # the grid of the normaliser does not turn
    torch.testing.assert_close(before[2], after[2], atol=2e-3, rtol=0)


@torch.no_grad()
def test_the_order_of_atoms_does_not_matter(network):
    heavy, heavy_pos, hydrogen_pos = ethanol()
    vectors = 1.2 * torch.nn.functional.normalize(torch.randn(3, 3), dim=1)
    p, q = torch.tensor([2, 0, 1]), torch.tensor([3, 1, 0, 2])
    before = answers(network, heavy, heavy_pos, hydrogen_pos, vectors)
    after = answers(network, heavy[p], heavy_pos[p], hydrogen_pos[q], vectors[p])
    for a, b in zip(before, after):
        torch.testing.assert_close(a[p], b, atol=2e-4, rtol=1e-4)


@torch.no_grad()
def test_fragments_of_a_batch_do_not_see_each_other(network):
    """All prefixes at once, some on one skeleton, are as each alone."""
    heavy, heavy_pos, hydrogen_pos = ethanol()
    molecules = Molecules(heavy[None], heavy_pos[None], hydrogen_pos[None])
    n_heavy, n_hydrogen = torch.tensor([1, 2, 3, 3, 3]), torch.tensor([0, 0, 0, 2, 4])
    batch = FragmentBatch.build(
        molecules,
        torch.zeros(5, dtype=torch.int64),
        n_heavy,
        n_hydrogen,
        CONFIG.cutoff,
        CONFIG.hydrogen_cutoff,
    )
    assert len(batch.species) == 1 + 2 + 3
    together = network.focus_logits(network.embed(batch), batch)
    for k, (a, b) in enumerate(zip(n_heavy, n_hydrogen)):
        one = fragment(heavy[:a], heavy_pos[:a], hydrogen_pos[:b])
        alone = network.focus_logits(network.embed(one), one)
        torch.testing.assert_close(together[batch.pair_fragment == k], alone)


@torch.no_grad()
def test_density_of_positions_integrates_to_one(network):
    heavy, heavy_pos, hydrogen_pos = ethanol()
    batch = fragment(heavy, heavy_pos, hydrogen_pos)
    h = network.embed(batch)
    query = batch.queries(
        torch.tensor([0]), torch.tensor([1]), torch.tensor([0]), CONFIG.cutoff
    )
    placement = network.place(h, query)
    r = torch.linspace(0.3, 6.0, 4001)
    radial = network.placement.mixture.log_prob(placement.radial, r[None])[0].exp()
    assert float(torch.trapezoid(radial, r)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"elements": (6, 8)}, "begin with 1"),
        ({"elements": (1, 6), "start": (0.0, 0.5, 0.5)}, "3 start frequencies"),
    ],
)
def test_impossible_shapes_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        SymphonyConfig(**changes)
