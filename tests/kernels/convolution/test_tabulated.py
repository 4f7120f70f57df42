"""Radial tables keep their error bound; the tabulated loop equals its definition."""

import math

import pytest
import torch

from equicalc.kernels import cpp
from equicalc.kernels.convolution import (
    Adjacency,
    RadialTable,
    TabulatedConvolution,
    UVUConvolution,
)
from equicalc.kernels.convolution import tabulated as module
from equicalc.kernels.convolution.paths import Paths
from equicalc.nn.radial import BesselBasis, RadialFilter

CUTOFF = 5.0


@pytest.fixture(params=["basis", "perceptron"])
def radial(request):
    """A function from distances to hidden features, in double precision."""
    basis = BesselBasis(CUTOFF, 4).double()
    filters = RadialFilter(4, (6,), 8).double().requires_grad_(False)
    if request.param == "basis":
        return basis
    return lambda r: filters.hidden(basis(r))


def exact(function, r):
    """Values and slopes by autograd."""
    r = r.clone().requires_grad_()
    values = function(r)
    slopes = [torch.autograd.grad(f.sum(), r, retain_graph=True)[0] for f in values.T]
    return values.detach(), torch.stack(slopes, 1)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7])
def test_errors_stay_below_the_tolerance(radial, tolerance):
    table = RadialTable.build(radial, 0.2, CUTOFF, tolerance, torch.float64)
    r = 0.2 + (CUTOFF - 0.2) * torch.rand(4000, dtype=torch.float64)
    for found, wanted in zip(table(r), exact(radial, r), strict=True):
        error = (found - wanted).abs().max() / wanted.abs().max()
        assert error < tolerance


def test_the_error_bound_is_sharp():
    """A quartic has a constant fourth derivative: the bound is attained."""
    step = 0.5
    knots = torch.arange(5, dtype=torch.float64).unsqueeze(1) * step
    table = RadialTable.through(0, 2, knots**4, 4 * knots**3, torch.float64)
    r = torch.linspace(0, 2, 20001, dtype=torch.float64)[:-1]
    value, slope = (t.squeeze(1) for t in table(r))
    assert float((value - r**4).abs().max()) == pytest.approx(24 * step**4 / 384)
    bound = 24 * math.sqrt(3) / 216 * step**3
    assert float((slope - 4 * r**3).abs().max()) == pytest.approx(bound, rel=1e-4)


def test_the_number_of_knots_follows_the_tolerance(radial):
    sizes = [
        len(RadialTable.build(radial, 0.2, CUTOFF, tolerance).coefficients)
        for tolerance in (1e-3, 1e-6)
    ]
    assert sizes[1] == pytest.approx(10 * sizes[0], rel=0.05)  # third order in slopes


def test_zero_beyond_the_cutoff(radial):
    table = RadialTable.build(radial, 0.2, CUTOFF, 1e-4, torch.float64)
    for t in table(torch.tensor([CUTOFF, CUTOFF + 1.0], dtype=torch.float64)):
        assert float(t.abs().max()) < 1e-12


def test_a_constant_needs_one_interval():
    table = RadialTable.build(lambda r: torch.ones_like(r).unsqueeze(1), 0, 1, 1e-9)
    assert len(table.coefficients) == 1


@pytest.mark.parametrize(
    ("start", "stop", "tolerance"),
    [(1.0, 0.0, 1e-5), (1.0, 1.0, 1e-5), (0.0, 1.0, 0.0), (0.0, math.nan, 1e-5)],
)
def test_tables_that_cannot_be_are_refused(radial, start, stop, tolerance):
    with pytest.raises(ValueError, match="no table from"):
        RadialTable.build(radial, start, stop, tolerance)


@pytest.mark.parametrize(
    "function", [torch.sin, lambda r: torch.log(r - 0.5).unsqueeze(1)]
)
def test_functions_that_are_no_rows_or_not_finite_are_refused(function):
    with pytest.raises(ValueError, match="must be finite and"):
        RadialTable.build(function, 0.0, 1.0, 1e-5)


def random_case(ls_in, ls_out, channels, dtype):
    torch.manual_seed(0)
    n_nodes, n_edges = 7, 60
    dst = torch.randint(0, n_nodes - 2, (n_edges,)).sort().values
    src = torch.randint(0, n_nodes - 2, (n_edges,))
    x = torch.randn(n_nodes, sum(2 * l + 1 for l in ls_in), channels, dtype=dtype)
    y = torch.randn(n_edges, 9, dtype=dtype)
    r = 0.1 + CUTOFF * torch.rand(n_edges, dtype=dtype)  # some beyond the cutoff
    return (x, y, r), Adjacency.from_edges(src, dst, n_nodes)


def test_nothing_is_compiled_without_a_compiler(monkeypatch):
    monkeypatch.setattr(module, "library", lambda *_: None)
    table = RadialTable.build(lambda r: torch.ones(len(r), 8).to(r), 0, 1, 1e-9)
    assert TabulatedConvolution.build(Paths.between((0,), (0,), (0,)), table) is None


@pytest.mark.skipif(cpp.find_compiler() is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tabulated_convolution_equals_the_plain_one(dtype):
    (x, y, r), adj = random_case((0, 1, 2), (0, 1), 16, dtype)
    convolution = UVUConvolution((0, 1, 2), (0, 1, 2), (0, 1), backend="torch")
    basis = BesselBasis(CUTOFF, 8)
    table = RadialTable.build(basis.double(), 0.05, CUTOFF, 1e-7, torch.float64)
    matrix = torch.randn(8, convolution.n_paths * 16, dtype=dtype)
    table = table.mixed(matrix).to(dtype)
    tabulated = TabulatedConvolution.build(convolution.paths, table)
    assert tabulated is not None
    inputs = [t.clone().requires_grad_() for t in (x, y, r)]
    hidden = basis.to(dtype)(inputs[2])
    out = convolution(inputs[0], inputs[1], hidden, adj, matrix)
    g = torch.randn_like(out)
    wanted = [out, *torch.autograd.grad(out, inputs, g)]
    found = tabulated.forward(x, y, r, adj), *tabulated.backward(g, x, y, r, adj)
    for a, b in zip(found, wanted, strict=True):
        assert not a.requires_grad
        scale = b.detach().abs().max().item()
        rounding = 1e-6 if dtype == torch.float64 else 2e-5
        torch.testing.assert_close(a, b.detach(), rtol=0, atol=rounding * scale)


@pytest.mark.skipif(cpp.find_compiler() is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("wrong", ["x", "channels", "y", "r", "dtype", "g"])
def test_arrays_that_do_not_fit_are_refused(wrong):
    (x, y, r), adj = random_case((0, 1, 2), (0, 1), 4, torch.float32)
    paths = Paths.between((0, 1, 2), (0, 1, 2), (0, 1))
    n = 4 * len(paths.couplings)
    table = RadialTable.build(lambda r: torch.ones(len(r), n).to(r), 0, 1, 1e-9)
    convolution = TabulatedConvolution.build(paths, table)
    assert convolution is not None
    g = convolution.forward(x, y, r, adj)
    given = {
        "x": (g, x[1:], y, r),
        "channels": (g, x.repeat(1, 1, 2), y, r),
        "y": (g, x, y[:, 1:], r),
        "r": (g, x, y, r[1:]),
        "dtype": (g.double(), x.double(), y.double(), r.double()),
        "g": (g[:, 1:], x, y, r),
    }[wrong]
    g, x, y, r = (t.contiguous() for t in given)
    with pytest.raises(ValueError, match=r"is needed|x is torch.float64"):
        convolution.backward(g, x, y, r, adj)
    if wrong != "g":
        with pytest.raises(ValueError, match=r"is needed|x is torch.float64"):
            convolution.forward(x, y, r, adj)


def test_functions_that_paths_cannot_share_are_refused():
    table = RadialTable.build(lambda r: torch.ones(len(r), 7).to(r), 0, 1, 1e-9)
    with pytest.raises(ValueError, match="4 paths cannot share 7 functions"):
        TabulatedConvolution.build(Paths.between((0, 1), (0, 1), (0, 1)), table)
