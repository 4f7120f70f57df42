"""Sums over images: the network's energies are those of the pairs, one by one."""

import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from equicalc.graph import molecule_edges
from equicalc.models import LatticeConfig, LatticeNetwork
from equicalc.models.image_sums import SOFT_CORE, SWITCH
from equicalc.models.lattice import COULOMB, FEW, _starts
from equicalc.models.lattice_graph import LatticeGraph
from equicalc.nn.damped_coulomb import DAMPING
from equicalc.nn.radial import BesselBasis
from equicalc.units import KJ_PER_MOL

CONFIG = LatticeConfig(elements=(1, 6, 8), cutoff=6.0, reach=5.0, members=2)


def crystal(sizes, seed, periodic=True):
    """Independent molecules with two turned images each, at random around them."""
    generator = torch.Generator().manual_seed(seed)
    n_sites, n_images = sum(sizes), 2 * len(sizes)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    molecule = torch.repeat_interleave(torch.tensor(sizes))
    centers = 6.0 * torch.arange(len(sizes)).unsqueeze(1)
    pos = 2 * normal(n_sites, 3) + centers[molecule]
    n_pairs = 40 * n_sites
    dst = torch.randint(n_sites, (n_pairs,), generator=generator)
    src = torch.randint(n_sites, (n_pairs,), generator=generator)
    vectors = normal(n_pairs, 3)
    vectors /= vectors.norm(dim=1, keepdim=True)
    lengths = 1.5 + 4.5 * torch.rand(n_pairs, 1, generator=generator)
    number = torch.randint(2, (n_pairs,), generator=generator)
    return LatticeGraph(
        z=torch.tensor(CONFIG.elements)[
            torch.randint(3, (n_sites,), generator=generator)
        ],
        pos=pos,
        molecule=molecule,
        weight=torch.full((len(sizes),), 1 / len(sizes)),
        crystal=torch.zeros(len(sizes), dtype=torch.int64),
        src=src,
        dst=dst,
        vectors=vectors * lengths,
        image=2 * molecule[src] + number,
        rotations=torch.linalg.qr(normal(n_images, 3, 3)).Q,
        periodic=torch.tensor([periodic]),
    )


def pair_by_pair(network, graph):
    """Energies of the members (n_members, n_crystals), each pair on its own."""
    species = network.species(graph.z)
    share = graph.weight[graph.molecule]
    owner = graph.crystal[graph.molecule]
    found = []
    for member in network.members:
        h, u = member.sites(species, network.bonds(graph.pos, _starts(graph)))
        each = physics(member.physics, species, h, graph)
        each = each + surroundings(member.surroundings, h, u, graph)
        zero = each.new_zeros(graph.n_crystals)
        found.append(zero.index_add(0, owner, each * share))
    return torch.stack(found)


def physics(part, species, h, graph):
    log_a, b, log_c, q = (part.numbers[species] + part.shift(h)).unbind(1)
    counts = torch.bincount(graph.molecule).to(q.dtype)
    mean = q.new_zeros(len(counts)).index_add(0, graph.molecule, q) / counts
    charge = q - mean[graph.molecule]
    src, dst, end = graph.src, graph.dst, CONFIG.cutoff
    r = graph.vectors.norm(dim=1)
    x = ((r / end - SWITCH) / (1 - SWITCH)).clamp(0, 1)
    near = 1 - 10 * x**3 + 15 * x**4 - 6 * x**5
    repulsion = (log_a[src] + log_a[dst] - (b[src] + b[dst]) * r).exp()
    attraction = (log_c[src] + log_c[dst]).exp() / (r**6 + SOFT_CORE**6)
    level = math.erfc(DAMPING * end) / end
    bell = 2 * DAMPING / math.sqrt(math.pi) * math.exp(-((DAMPING * end) ** 2))
    slope = (level + bell) / end

    def damped(r):
        return torch.erfc(DAMPING * r) / r - level + slope * (r - end)

    periodic = graph.periodic[graph.crystal[graph.molecule]]
    inverse = torch.where(periodic[dst], damped(r), 1 / r)
    coulomb = COULOMB * charge[src] * charge[dst] * inverse
    each = 0.5 * ((repulsion - attraction) * near + coulomb)
    energy = torch.zeros_like(q).index_add(0, dst, each)
    crowd = torch.zeros_like(q).index_add(0, dst, near)
    sizes = torch.bincount(graph.molecule)
    ends = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    i, j = molecule_edges(graph.pos, ends, math.inf)
    inside = (graph.pos[i] - graph.pos[j]).norm(dim=1)
    taken = charge[i] * (damped(inside.clamp(max=end)) - 1 / inside)
    own = charge * (-2 * DAMPING / math.sqrt(math.pi) - level - slope * end)
    within = 0.5 * COULOMB * charge * own.index_add(0, j, taken)
    packed = torch.where(periodic, 1 - torch.exp(-crowd / FEW), 0.0)
    return energy + packed * within


def surroundings(part, h, u, graph):
    C = h.shape[1]
    r = graph.vectors.norm(dim=1)
    near = (r < CONFIG.reach).nonzero().squeeze(1)
    src, dst = graph.src[near], graph.dst[near]
    towards = graph.vectors[near] / r[near, None]
    turns = graph.rotations[graph.image[near]]
    seen = torch.einsum("pij,pj->pi", turns, towards)
    along = torch.einsum("pki,pi->pk", u[src], seen)
    bessel = BesselBasis(CONFIG.reach, CONFIG.n_radial)
    orders = torch.arange(1, CONFIG.n_radial + 1, dtype=r.dtype)
    bessel.frequencies = orders * math.pi / CONFIG.reach  # in double precision
    filters, sent = part.filter(bessel(r[near])), part.source(h)[src]
    scalars = filters[:, :C] * (sent[:, :C] + part.direction(along))
    strengths = filters[:, C:] * sent[:, C:]
    arrows = strengths.unsqueeze(2) * towards.unsqueeze(1)
    around = torch.zeros_like(h).index_add(0, dst, scalars)
    pull = torch.zeros_like(u).index_add(0, dst, arrows)
    measures = [around, (pull * u).sum(2), pull.square().sum(2)]
    nothing = [torch.zeros_like(measure) for measure in measures]
    energy = part.energy(torch.cat([h, *measures], 1))
    return (energy - part.energy(torch.cat([h, *nothing], 1))).squeeze(1)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = LatticeNetwork(CONFIG).double()
    for member in made.members:
        last = cast("Any", member).surroundings.energy[-1]
        last.weight.data *= 30  # a learned part that matters
    return made.requires_grad_(False)


@pytest.mark.parametrize("sizes", [(1,), (5,), (4, 7), (3, 1, 6)])
@pytest.mark.parametrize("periodic", [True, False])
def test_energies_are_those_of_all_pairs(network, sizes, periodic):
    graph = crystal(sizes, len(sizes), periodic)
    expected = pair_by_pair(network, graph)
    assert network(graph)["members"].numpy() == pytest.approx(
        expected.numpy(), rel=1e-9, abs=1e-12
    )


def test_batches_mix_molecules_of_any_size(network):
    graphs = [crystal(sizes, n) for n, sizes in enumerate([(9,), (2, 5), (1,)])]
    batch = LatticeGraph.collate(graphs)
    assert network(batch)["members"].numpy() == pytest.approx(
        pair_by_pair(network, batch).numpy(), rel=1e-9
    )


def test_single_precision_is_good_enough(network):
    graph = crystal((12,), 5)
    single = LatticeNetwork(CONFIG)
    single.load_state_dict(network.state_dict())
    error = single(graph)["interaction"] - network(graph)["interaction"]
    scale = max(1.0, network(graph)["interaction"].abs().item())
    assert error.abs().item() < 1e-6 * scale / KJ_PER_MOL


def test_no_pairs_no_energy(network):
    graph = crystal((3, 4), 0)
    none = torch.zeros(0, dtype=torch.int64)
    alone = replace(graph, src=none, dst=none, image=none, vectors=graph.vectors[:0])
    assert network(alone)["members"].abs().max().item() < 1e-12


def test_gradients_are_those_of_all_pairs(network):
    graph = crystal((4, 3), 2)
    slopes = []
    for energies in (
        lambda g: network(g)["members"],
        lambda g: pair_by_pair(network, g),
    ):
        vectors = graph.vectors.clone().requires_grad_()
        energies(replace(graph, vectors=vectors)).sum().backward()
        slopes.append(vectors.grad)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-8, atol=1e-10)
