"""Densities of directions and distances."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from equicalc.nn.log_mixture import LogNormalMixture
from equicalc.nn.sphere import SphereDensity, shared_cells, sphere_grid
from equicalc.nn.sphere_cells import SphereCells, areas_of, parts_of, sphere_cells
from equicalc.nn.sphere_loops import compiled_sphere
from equicalc.nn.sphere_sampler import SphereSampler
from equicalc.o3 import rand_matrix

LS = [0, 1, 2, 3, 4]


@pytest.fixture(scope="module", params=["torch", "auto"])
def density(request):
    return SphereDensity(LS, backend=request.param)


def peaked(density, width, n=1, channels=2):
    """Densities with a peak of a width in degrees, and a weaker one elsewhere."""
    torch.manual_seed(0)
    centre = unit(torch.randn(n, 3))
    a = density.harmonics(centre) * sharpness(width)
    noise = 0.3 * torch.randn(n, a.shape[1], channels)
    noise[:, :, 0] = 0
    return centre, a.unsqueeze(2) + noise


def several(density, width, shares):
    """A density with a sharp peak per channel, and their centres."""
    torch.manual_seed(5)
    centres = unit(torch.randn(len(shares), 3))
    a = density.harmonics(centres) * sharpness(width)
    top = (density.harmonics(centres) * a).sum(1)
    a[:, 0] += torch.tensor(shares).log() - (top - top[0])
    return centres, a.T.unsqueeze(0)


def sharpness(width):
    """Factor of a truncated delta function that makes it a peak of so many degrees."""
    # the curvature of sum_l (2l+1) P_l at its top is sum_l (2l+1) l (l+1) / 2
    curvature = sum((2 * l + 1) * l * (l + 1) / 2 for l in LS)
    return 1 / curvature / math.radians(width) ** 2


def angles_to_the_top(k):
    """Angles to the top of truncated delta functions times k, and log masses there."""
    z, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(64))
    edges = math.pi * torch.linspace(0, 1, 401).double() ** 3
    half = 0.5 * edges.diff().unsqueeze(1)
    theta = (edges[:-1].unsqueeze(1) + half * (1 + z)).flatten()
    degrees = [2 * l + 1 for l in LS]
    values = torch.tensor(np.polynomial.legendre.legval(theta.cos().numpy(), degrees))
    measure = (2 * math.pi * half * weights).flatten() * theta.sin()
    return theta, k.unsqueeze(1) * values + measure.log()


def unit(vectors):
    return torch.nn.functional.normalize(vectors, dim=1)


@pytest.mark.parametrize("width", [2.5, 5.0, 15.0, 60.0])
def test_the_integral_is_one(density, width):
    _, a = peaked(density, width)
    points, weights = sphere_grid(60)
    p = density.log_prob(a.expand(len(points), -1, -1), points).exp()
    assert float(p @ weights) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("width", [0.3, 0.5, 1.0])
def test_every_sharp_peak_counts(density, width):
    """Of peaks far narrower than the first cells, each has the mass of a Gaussian."""
    shares = [0.5, 0.3, 0.2]
    centres, a = several(density, width, shares)
    density_there = density.log_prob(a.expand(3, -1, -1), centres).exp()
    mass = 2 * math.pi * math.radians(width) ** 2 * density_there
    assert mass.tolist() == pytest.approx(shares, rel=3e-3)


def test_a_sharp_ridge_counts(density):
    """-k z^2 is a circle, of mass 2 pi sqrt(pi / k)."""
    k = 3000.0
    points, weights = sphere_grid(12)
    f = -k * points[:, 2].square()
    a = (density.harmonics(points) * (weights * f).unsqueeze(1)).sum(0) / (4 * math.pi)
    log_z = density.log_normalizer(a.reshape(1, -1, 1))
    assert log_z.item() == pytest.approx(
        math.log(2 * math.pi * math.sqrt(math.pi / k)), abs=3e-3
    )


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_the_gradient_of_the_normaliser_is_that_of_the_integral(backend):
    density = SphereDensity(LS, backend=backend).double()
    _, a = several(density, 1.0, [0.6, 0.4])
    a = a.double().requires_grad_()
    step = torch.randn_like(a)
    density.log_normalizer(a).sum().backward()
    assert a.grad is not None
    with torch.no_grad():
        up, down = (density.log_normalizer(a + h * step) for h in (1e-4, -1e-4))
    slope = float((up - down) / 2e-4)
    assert float((a.grad * step).sum()) == pytest.approx(slope, rel=1e-3)


def test_only_sharp_densities_are_cut(density):
    cells = SphereCells(density.harmonics, 24)
    smooth = cells.cut(peaked(density, 60.0)[1])
    sharp = cells.cut(peaked(density, 0.5)[1])
    assert len(smooth) == 1
    assert len(sharp) >= 3
    assert (
        len(SphereCells(density.harmonics, 24, depth=0).cut(peaked(density, 0.5)[1]))
        == 1
    )
    for level in sharp[1:]:
        assert len(level.row) < 200


def test_parts_fill_their_cells():
    cells, _, whole = sphere_cells(6)
    parts, points, weights = parts_of(cells, 3)
    torch.testing.assert_close(areas_of(cells), whole)
    torch.testing.assert_close(areas_of(parts).sum(1), whole)
    torch.testing.assert_close(weights.sum(1), whole, rtol=1e-5, atol=0)
    assert torch.equal(parts[:, 0, :, 0], cells[..., 0])
    ends = parts[..., 0] + parts[..., 1]
    torch.testing.assert_close(ends[:, -1], cells.sum(-1))
    theta = points[..., 2].arccos()
    assert bool((theta > parts[..., 0, 0]).all())
    assert bool((theta < ends[..., 0]).all())


def test_the_density_turns_with_its_harmonics(density):
    centre, a = peaked(density, 10.0, n=5)
    R = rand_matrix(1)[0]
    directions = unit(centre + 0.2 * torch.randn(5, 3))
    # coefficients of the turned function, from its values on a grid
    points, weights = sphere_grid(12)
    values = torch.einsum("gs,nsc->ngc", density.harmonics(points @ R), a)
    Y = density.harmonics(points)
    turned = torch.einsum("gs,g,ngc->nsc", Y, weights, values) / (4 * math.pi)
    torch.testing.assert_close(
        density.log_prob(turned, directions @ R.T),
        density.log_prob(a, directions),
        atol=2e-3,
        rtol=0,
    )


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_directions_follow_the_density(density, temperature):
    """Chi-square over caps around two directions."""
    _, a = peaked(density, 20.0)
    torch.manual_seed(1)
    n = 4000
    sampler = SphereSampler(density.cells)
    drawn = sampler.sample(a.expand(n, -1, -1), torch.rand(n, 4), temperature)
    assert torch.allclose(drawn.norm(dim=1), torch.ones(n), atol=1e-5)
    points, weights = sphere_grid(96)
    logits = density.logits(a, points.unsqueeze(0))[0] / temperature
    p = weights * (logits - logits.max()).exp()
    axes = rand_matrix(1)[0]
    octant = axes.new_tensor([1.0, 2.0, 4.0])

    def cells(x):
        return ((x @ axes.T > 0) * octant).sum(1).long()

    expected = torch.bincount(cells(points), p / p.sum(), 8) * n
    found = torch.bincount(cells(drawn), minlength=8)
    large = expected > 5
    chi2 = ((found - expected).square() / expected)[large].sum()
    assert chi2 < 24.3  # 0.1 % of seven degrees of freedom
    assert found[~large].sum() < 30


def test_directions_do_not_depend_on_the_size_of_the_density(density):
    """The shipped generator's constant terms reach 435, over a temperature of 0.05."""
    sampler = SphereSampler(density.cells)
    torch.manual_seed(0)
    uniform = torch.rand(1000, 4)

    def drawn(constant):
        a = torch.zeros(len(uniform), sum(2 * l + 1 for l in LS), 1)
        a[:, 0] = constant
        return sampler.sample(a, uniform, 0.05, by_term=True)

    assert torch.equal(drawn(0.0), drawn(43.7))
    assert torch.equal(drawn(0.0), drawn(435.4))


def test_sums_are_sharpened_where_their_terms_overlap(density):
    """Two peaks of a channel each, 1.1 degrees apart: p^20 has the one between them."""
    centres = unit(torch.tensor([[1.0, 0.5, 0.5], [1.0, 0.5, 0.53]]))
    a = (density.harmonics(centres) * sharpness(5.0)).T.unsqueeze(0)
    n = 3000
    torch.manual_seed(0)
    sampler = SphereSampler(density.cells)
    u = sampler.sample(a.expand(n, -1, -1), torch.rand(n, 4), 0.05)
    across = u @ unit(centres[1:] - centres[:1])[0]
    middle = 0.5 * (centres.sum(0) @ unit(centres[1:] - centres[:1])[0])
    assert float(across.mean()) == pytest.approx(float(middle), abs=2e-3)
    assert float(across.std()) == pytest.approx(math.radians(5) * 0.05**0.5, rel=0.07)


def test_a_density_is_ready_in_another_process(density, tmp_path):
    torch.save(density, tmp_path / "density.pt")
    code = (
        "import sys, torch\n"
        "density = torch.load(sys.argv[1], weights_only=False)\n"
        "print(density.log_normalizer(torch.zeros(1, 25, 1)).item())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "density.pt"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) == pytest.approx(math.log(4 * math.pi), abs=1e-4)


@pytest.mark.parametrize("by_term", [False, True])
def test_sharp_peaks_are_drawn_by_their_shares(density, by_term):
    shares = [0.5, 0.3, 0.2]
    centres, a = several(density, 0.4, shares)
    torch.manual_seed(1)
    n = 4000
    sampler = SphereSampler(density.cells)
    u = sampler.sample(a.expand(n, -1, -1), torch.rand(n, 4), 1.0, by_term)
    angle = torch.linalg.cross(u.unsqueeze(1), centres.unsqueeze(0)).norm(dim=2)
    near = angle < math.radians(4)
    assert near.any(1).all()
    found = near.sum(0)
    expected = n * torch.tensor(shares)
    assert ((found - expected).square() / expected).sum() < 13.8  # 0.1 % of two
    for k in range(3):  # a Rayleigh distribution: mean square of two widths
        width = angle[near[:, k], k].square().mean().sqrt() / math.sqrt(2)
        assert math.degrees(width) == pytest.approx(0.4, rel=0.06)


def test_low_temperature_narrows_peaks_and_keeps_their_shares(density):
    sampler = SphereSampler(density.cells)
    pole = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.6, -0.8]])
    a = density.harmonics(pole).T.unsqueeze(0)  # a channel each
    a[:, 0] += torch.tensor([0.3, 0.7]).log()
    n = 1000

    def drawn(temperature):
        torch.manual_seed(0)
        uniform = torch.rand(n, 4)
        u = sampler.sample(a.expand(n, -1, -1), uniform, temperature, by_term=True)
        return (u @ pole.T).clamp(-1, 1).arccos()

    wide, narrow = drawn(1.0), drawn(0.1)
    near = narrow < 0.5
    assert near.float().mean(0).tolist() == pytest.approx([0.3, 0.7], abs=0.05)
    widths = [(x[x < 0.5]).square().mean().sqrt() for x in (wide, narrow)]
    assert float(widths[1]) < 0.4 * float(widths[0])


def test_sums_of_exponentials_tell_an_octahedron_from_its_edges(density):
    """Two channels of low degree have maxima that one channel cannot have."""
    sphere = SphereDensity([0, 1, 2], backend="torch")
    corners = torch.cat([torch.eye(3), -torch.eye(3)])
    one = 20.0 * sphere.harmonics(corners)  # a channel per corner
    alone = one.sum(0, keepdim=True).unsqueeze(2)  # all corners in one channel
    edge = unit(torch.tensor([[1.0, 1.0, 0.0]]))
    both = torch.cat([corners[:1], edge]).unsqueeze(0)
    many = sphere.logits(one.T.unsqueeze(0), both)[0]
    few = sphere.logits(alone, both)[0]
    assert many[0] - many[1] > 10
    assert abs(few[0] - few[1]) < 1e-3


def test_distances_follow_the_mixture():
    torch.manual_seed(0)
    mixture = LogNormalMixture(3, 8, 0.9, 2.0)
    terms = mixture(torch.randn(1, 3))
    n = 4000
    r = mixture.sample(terms.expand(n, -1, -1, -1), torch.rand(n, 2))
    edges = torch.linspace(0.9, 1.9, 11)
    grid = torch.linspace(0.8, 2.25, 4001)
    p = mixture.log_prob(terms, grid.unsqueeze(0))[0].exp()
    share = torch.cumulative_trapezoid(p, grid) / torch.trapezoid(p, grid)
    expected = n * torch.diff(share[torch.searchsorted(grid, edges) - 1])
    found = torch.histogram(r, edges).hist
    assert ((found - expected).square() / expected).sum() < 29.6  # 0.1 % of ten


def test_low_temperature_narrows_terms_and_keeps_their_shares():
    mixture = LogNormalMixture(1, 2, 0.9, 2.0)
    weights, centres = torch.tensor([0.3, 0.7]), torch.tensor([1.2, 1.5])
    terms = torch.stack([weights.log(), centres.log(), torch.full((2,), 0.04)])
    n = 4000
    torch.manual_seed(0)
    r = mixture.sample(terms.expand(n, 1, -1, -1), torch.rand(n, 2), 0.04)
    near = [(r / centre).log() for centre in centres]
    shares = [float((x.abs() < 0.1).float().mean()) for x in near]
    assert shares == pytest.approx([0.3, 0.7], abs=0.025)
    spread = near[1][near[1].abs() < 0.1].std()
    assert float(spread) == pytest.approx(0.04 * 0.04**0.5, rel=0.1)


def test_the_ends_of_the_random_numbers_stay_near_the_terms():
    mixture = LogNormalMixture(1, 2, 0.9, 2.0)
    terms = torch.tensor([[0.5, 0.5], [1.2, 1.5], [0.01, 0.01]])
    terms[:2] = terms[:2].log()
    ends = torch.tensor([[0.0, 0.0], [1 - 2**-24, 1 - 2**-24]])
    for temperature in (0.01, 1.0, 5.0):
        r = mixture.sample(terms.expand(2, 1, -1, -1), ends, temperature)
        widths = (r.log() - terms[1]).abs() / (0.01 * temperature**0.5)
        assert float(widths.max()) < 6


def test_terms_beyond_the_range_give_its_nearest_end():
    mixture = LogNormalMixture(1, 2, 0.9, 2.0)
    terms = torch.full((2, 1, 3, 2), 0.01)
    terms[:, 0, 0], terms[:, 0, 1] = -0.7, torch.tensor([[-3.0], [3.0]])
    r = mixture.sample(terms, torch.full((2, 2), 0.3))
    assert r.tolist() == pytest.approx([0.9 / 1.15, 2.0 * 1.15])


@pytest.mark.parametrize("z", [1.0, -1.0])
def test_sharp_peaks_at_the_poles_count_as_elsewhere(density, z):
    centres = unit(torch.tensor([[0.0, 0.0, z], [0.002, 0.001, z], [0.6, 0.48, 0.64]]))
    a = (density.harmonics(centres) * sharpness(0.2)).unsqueeze(2).double()
    at_pole, near_pole, elsewhere = density.log_normalizer(a).tolist()
    assert at_pole == pytest.approx(elsewhere, abs=6e-3)
    assert near_pole == pytest.approx(elsewhere, abs=6e-3)


def test_the_normaliser_is_not_biased():
    """Densities that are cut in part; a grid of 1.1 degrees resolves them all."""
    density = SphereDensity(LS, backend="torch").double()
    torch.manual_seed(0)
    a = 10 * torch.randn(24, 25, 1).double()
    points, weights = (x.double() for x in sphere_grid(160))
    logits = density.harmonics(points) @ a.squeeze(2).T + weights.log().unsqueeze(1)
    error = density.log_normalizer(a) - logits.logsumexp(0)
    assert abs(float(error.mean())) < 3e-4
    assert float(error.abs().max()) < 1e-3


@pytest.mark.parametrize("width", [3.0, 10.0])
def test_peaks_at_low_temperature_are_as_wide_as_they_should_be(density, width):
    torch.manual_seed(0)
    n = 256
    centres = unit(torch.randn(8, 3)).repeat_interleave(n, 0)
    a = (density.harmonics(centres) * sharpness(width)).unsqueeze(2)
    uniform = torch.quasirandom.SobolEngine(4, scramble=True, seed=0).draw(n)
    u = SphereSampler(density.cells).sample(a, uniform.repeat(8, 1), 0.05, by_term=True)
    found = (u - centres).square().sum(1).mean()
    theta, masses = angles_to_the_top(torch.tensor([sharpness(width) / 0.05]).double())
    right = masses.softmax(1) @ (2 * (0.5 * theta).sin()).square()
    assert float((found / right).sqrt()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("by_term", [False, True])
def test_densities_that_cannot_be_drawn_from_are_named(density, by_term):
    a = torch.zeros(4, 25, 2)
    a[2, 3, 1] = math.nan
    sampler = SphereSampler(density.cells)
    with pytest.raises(ValueError, match="row 2"):
        sampler.sample(a, torch.rand(4, 4), 0.05, by_term)
    a[2], a[1, 0] = 0.0, -math.inf
    with pytest.raises(ValueError, match="row 1"):
        sampler.sample(a, torch.rand(4, 4), 0.05, by_term)


def test_a_term_without_weight_changes_nothing(density):
    _, a = several(density, 0.4, [0.6, 0.4])
    none = torch.cat([a, a[..., :1]], 2)
    none[:, 0, 2] = -math.inf
    torch.testing.assert_close(
        density.log_normalizer(none), density.log_normalizer(a), atol=1e-5, rtol=0
    )
    sampler = SphereSampler(density.cells)
    torch.manual_seed(0)
    uniform = torch.rand(200, 4)
    for by_term in (False, True):
        one, other = (
            sampler.sample(x.expand(200, -1, -1), uniform, 0.05, by_term)
            for x in (a, none)
        )
        torch.testing.assert_close(one, other)
    none[:, 0] = -math.inf
    assert density.log_normalizer(none).item() == -math.inf


def test_cells_do_not_depend_on_the_default_precision(density):
    coefficients = several(density, 0.4, [0.6, 0.4])[1].double()
    right = SphereCells(density.harmonics).cut(coefficients)
    torch.set_default_dtype(torch.float64)
    try:
        other = SphereCells(density.harmonics).cut(coefficients)
    finally:
        torch.set_default_dtype(torch.float32)
    for one, two in zip(right, other, strict=True):
        assert torch.equal(one.cells, two.cells)
        assert torch.equal(one.log_masses, two.log_masses)


def sharp_and_smooth(ls, channels, dtype=torch.float64):
    """Densities with terms of widths from under a degree to whole hemispheres."""
    torch.manual_seed(3)
    size = torch.logspace(-1, 2, 20).reshape(-1, 1, 1)
    a = size * torch.randn(20, sum(2 * l + 1 for l in ls), channels)
    return (a - a.amax((1, 2), keepdim=True)).to(dtype)


@pytest.mark.parametrize(
    ("ls", "channels"), [(LS, 4), ([0, 1, 2, 3, 4, 5], 1), ([0, 2], 3)]
)
def test_compiled_loops_do_what_torch_does(ls, channels):
    a = sharp_and_smooth(ls, channels)
    if compiled_sphere(shared_cells(tuple(ls), 24, "auto"), a) is None:
        pytest.skip("there is no C++ compiler")
    log_z, gradients = [], []
    for backend in ("torch", "auto"):
        own = a.clone().requires_grad_()
        log_z.append(SphereDensity(ls, backend=backend).log_normalizer(own))
        log_z[-1].sum().backward()
        gradients.append(own.grad)
    torch.testing.assert_close(*log_z, atol=1e-9, rtol=0)
    torch.testing.assert_close(*gradients, atol=1e-9, rtol=0)
    uniform = torch.rand(20, 4)
    for temperature, by_term in [(1.0, False), (1.0, True), (0.05, True), (0.3, False)]:
        one, other = (
            SphereSampler(shared_cells(tuple(ls), 24, backend)).sample(
                a, uniform, temperature, by_term
            )
            for backend in ("torch", "auto")
        )
        torch.testing.assert_close(one, other, atol=1e-9, rtol=0)


def test_integrals_of_single_precision_are_those_of_double():
    a = sharp_and_smooth(LS, 4)
    density = SphereDensity(LS)
    torch.testing.assert_close(
        density.log_normalizer(a.float()).double(),
        density.log_normalizer(a),
        atol=3e-3,
        rtol=0,
    )


def test_a_density_that_is_not_a_number_has_no_integral(density):
    a = torch.zeros(2, 25, 2)
    a[1, 4, 0] = math.nan
    log_z = density.log_normalizer(a)
    assert log_z[0].item() == pytest.approx(math.log(8 * math.pi), abs=1e-4)
    assert log_z[1].isnan()
