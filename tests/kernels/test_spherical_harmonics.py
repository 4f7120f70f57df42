"""Values, symmetries and derivatives of the harmonics, against e3nn."""

import copy
import pickle
import warnings

import pytest
import torch

from equicalc import o3
from equicalc.kernels import SphericalHarmonics, spherical_harmonics
from equicalc.kernels.spherical_harmonics import cpp_kernels, torch_kernels
from equicalc.kernels.spherical_harmonics.harmonics import Harmonics
from equicalc.kernels.spherical_harmonics.torch_kernels import formulas

ALL = list(range(11))
HAS_CPP = cpp_kernels.available(Harmonics((0,), True, "norm"), torch.float32)
BACKENDS = [
    "torch",
    pytest.param("cpp", marks=pytest.mark.skipif(not HAS_CPP, reason="no compiler")),
]
OPS = torch.ops.equicalc


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def poisoned(monkeypatch):
    """Memory that was not written reads NaN."""
    empty_like, new_empty = torch.empty_like, torch.Tensor.new_empty
    nan = float("nan")
    monkeypatch.setattr(torch, "empty_like", lambda t: empty_like(t).fill_(nan))
    monkeypatch.setattr(
        torch.Tensor, "new_empty", lambda t, *size: new_empty(t, *size).fill_(nan)
    )


def vectors(*shape, dtype=torch.float64):
    return torch.randn(*shape, 3, dtype=dtype)


def derivatives(function, x, g, v):
    """Gradient of g . Y, and the gradients of v . that for x and g."""
    x, g = x.clone().requires_grad_(), g.clone().requires_grad_()
    (first,) = torch.autograd.grad(function(x), x, g, create_graph=True)
    return first, *torch.autograd.grad(first, (x, g), v)


def relative(a, b):
    return float((a.detach() - b.detach()).abs().max() / b.detach().abs().max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 2)])
def test_no_vectors(backend, shape):
    x = vectors(*shape).requires_grad_()
    y = spherical_harmonics([0, 2], x, True, backend=backend)
    assert y.shape == (*shape, 6)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.shape == x.shape


@pytest.mark.parametrize(
    ("backend", "normalization", "normalize"),
    [("torch", name, flag) for name in ("norm", "integral") for flag in (True, False)]
    + [("torch", "component", True), ("auto", "component", True)]
    + [("auto", "integral", False)],
)
def test_every_component_agrees_with_e3nn(backend, normalization, normalize):
    x = torch.nn.functional.normalize(vectors(300), dim=-1)
    x[:3] = torch.eye(3, dtype=x.dtype)  # the axes, the poles among them
    settings = (normalize, normalization)
    y = spherical_harmonics(ALL, x, *settings, backend=backend)
    error = (y - o3.spherical_harmonics(ALL, x, *settings)).abs().amax(0)
    assert error.max() <= 1e-13, f"component {int(error.argmax())}: {error.max():.1e}"


def test_polynomials_are_homogeneous():
    x = vectors(10)
    y = spherical_harmonics(ALL, x, False, "component", "torch")
    scaled = spherical_harmonics(ALL, 1.5 * x, False, "component", "torch")
    for l in ALL:
        part = slice(l * l, (l + 1) ** 2)
        torch.testing.assert_close(scaled[:, part], 1.5**l * y[:, part])


@pytest.mark.parametrize("l", ALL)
def test_equivariance_and_parity(l):
    x, rotation = vectors(50), o3.rand_matrix(dtype=torch.float64)
    y = spherical_harmonics([l], x, True, "component", "torch")
    D = o3.Irrep(l, (-1) ** l).D_from_matrix(rotation)
    turned = spherical_harmonics([l], x @ rotation.T, True, "component", "torch")
    inverted = spherical_harmonics([l], -x, True, "component", "torch")
    torch.testing.assert_close(turned, y @ D.T, atol=1e-10, rtol=0)
    torch.testing.assert_close(inverted, (-1) ** l * y, atol=1e-13, rtol=0)


@pytest.mark.parametrize("ls", [[10], [0, 3, 4], [6, 2, 5], [1, 1, 0]])
def test_any_degrees_in_any_order_are_parts_of_the_whole(ls):
    x = vectors(20)
    whole = spherical_harmonics(ALL, x, True, backend="torch")
    columns = [k for l in ls for k in range(l * l, (l + 1) ** 2)]
    y = spherical_harmonics(ls, x, True, backend="torch")
    torch.testing.assert_close(y, whole[:, columns], atol=1e-13, rtol=0)


def test_degrees_cost_only_their_own_members():
    graph = Harmonics((10,), True, "component").passes
    whole = Harmonics(tuple(ALL), True, "component").passes
    few = graph.graph.topological(graph.forward[0])
    assert len(few) < 0.75 * len(whole.graph.topological(whole.forward[0]))


def test_derivatives_are_made_of_harmonics_of_lower_degrees():
    passes = Harmonics(tuple(ALL), True, "component").passes
    lengths = [
        len(passes.graph.topological(outputs))
        for outputs in (passes.forward[0], passes.backward[0], passes.double_xyz[0])
    ]
    assert lengths[1] < 2.45 * lengths[0]  # by the chain rule 2.7 and 6.4
    assert lengths[2] < 4.75 * lengths[0]


@pytest.mark.parametrize("avx2", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_of_vectors_make_up_the_whole(dtype, avx2, monkeypatch):
    if avx2 and not torch_kernels._avx2():
        pytest.skip("this processor has no AVX2")
    monkeypatch.setattr(torch_kernels, "_avx2", lambda: avx2)
    x, v = vectors(40, dtype=dtype), vectors(40, dtype=dtype)
    g = torch.randn(40, 49, dtype=dtype)

    def results():
        function = SphericalHarmonics(range(7), True, backend="torch")
        return function(x), *derivatives(function, x, g, v)

    whole = results()
    monkeypatch.setitem(torch_kernels.BLOCK, "cpu", 16)
    for parts, expected in zip(results(), whole, strict=True):
        torch.testing.assert_close(parts, expected)
        assert parts.is_contiguous()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 40])
def test_all_outputs_are_written(backend, n, poisoned):
    harmonics = SphericalHarmonics([0, 3, 4], True, "component", backend=backend)
    x, g, v = vectors(n), torch.randn(n, 17, dtype=torch.float64), vectors(n)

    def reference(t):
        return o3.spherical_harmonics([0, 3, 4], t, True, "component")

    torch.testing.assert_close(harmonics(x), reference(x), atol=1e-13, rtol=0)
    wanted = derivatives(reference, x, g, v)
    for a, b in zip(derivatives(harmonics, x, g, v), wanted, strict=True):
        assert relative(a, b) < 1e-11


@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives_of_high_degrees_agree_with_e3nn(backend):
    n = 20 if backend == "torch" else 50
    ls = ALL if backend == "torch" else [5, 8]
    x, v = vectors(n), vectors(n)
    g = torch.randn(n, sum(2 * l + 1 for l in ls), dtype=x.dtype)
    ours = derivatives(
        lambda t: spherical_harmonics(ls, t, True, backend=backend), x, g, v
    )
    theirs = derivatives(lambda t: o3.spherical_harmonics(ls, t, True), x, g, v)
    for a, b in zip(ours, theirs, strict=True):
        assert relative(a, b) < 1e-11


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("normalize", [True, False])
def test_gradients_to_third_order(backend, normalize):
    x = vectors(2).requires_grad_()

    def y(t):
        return spherical_harmonics([0, 2, 3], t, normalize, backend=backend)

    def force(t):
        return torch.autograd.grad(y(t).pow(2).sum(), t, create_graph=True)[0]

    assert torch.autograd.gradcheck(y, x)
    assert torch.autograd.gradgradcheck(y, x)
    assert torch.autograd.gradgradcheck(force, x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_operators_are_registered_correctly(backend):
    settings = ([1, 2], True, "component", backend)
    x, v = vectors(3).requires_grad_(), vectors(3).requires_grad_()
    g = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    for operator, tensors in (
        (OPS.spherical_harmonics, (x,)),
        (OPS.spherical_harmonics_backward, (x, g)),
        (OPS.spherical_harmonics_double_backward, (x, g, v)),
    ):
        torch.library.opcheck(operator.default, (*tensors, *settings))


@pytest.mark.parametrize("backend", BACKENDS)
def test_vmap_and_batched_gradients(backend):
    def y(t):
        return spherical_harmonics([0, 3], t, True, backend=backend)

    x = vectors(4, 5)
    torch.testing.assert_close(torch.func.vmap(y)(x), y(x))
    torch.testing.assert_close(torch.func.vmap(y, in_dims=1, out_dims=1)(x), y(x))
    x = vectors(2)
    hessians = [
        torch.autograd.functional.hessian(
            lambda t: y(t).pow(3).sum(), x, vectorize=flag
        )
        for flag in (True, False)
    ]
    torch.testing.assert_close(*hessians)


def test_single_precision_error_is_that_of_e3nn():
    x = vectors(5000, dtype=torch.float32)
    wanted = o3.spherical_harmonics(ALL, x.double(), True, "component")
    ours = (spherical_harmonics(ALL, x, True, "component") - wanted).abs()
    theirs = (o3.spherical_harmonics(ALL, x, True, "component") - wanted).abs()
    for l in ALL[1:]:
        part = slice(l * l, (l + 1) ** 2)
        assert ours[:, part].max() <= 3 * theirs[:, part].max(), f"l = {l}"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_only_the_result(backend, dtype):
    x, g = vectors(100, dtype=dtype).requires_grad_(), torch.randn(100, 22, dtype=dtype)
    y = spherical_harmonics([0, 10], x, True, "component", backend)
    wanted = o3.spherical_harmonics([0, 10], x.double(), True, "component")
    assert y.dtype == dtype
    assert relative(y.double(), wanted) <= torch.finfo(dtype).eps
    (gradient,) = torch.autograd.grad(y, x, g)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_leading_shape_and_layout(backend):
    harmonics = SphericalHarmonics([0, 1, 2], True, backend=backend)
    x = vectors(4, 5)
    y = harmonics(x)
    assert y.shape == (4, 5, 9)
    torch.testing.assert_close(harmonics(x[1, 2]), y[1, 2])
    torch.testing.assert_close(harmonics(x.transpose(0, 1)), y.transpose(0, 1))
    strided = torch.randn(7, 6, dtype=x.dtype)[:, ::2]
    torch.testing.assert_close(harmonics(strided), harmonics(strided.contiguous()))
    leaf = x.clone().requires_grad_()
    harmonics(leaf).sum().backward()  # an expanded gradient
    (gradient,) = torch.autograd.grad(harmonics(leaf), leaf, torch.ones_like(y))
    torch.testing.assert_close(leaf.grad, gradient)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_zero_vector_is_as_in_e3nn(backend):
    x = torch.zeros(1, 3, requires_grad=True)
    ours = spherical_harmonics([0, 1, 2], x, True, "component", backend)
    theirs = o3.spherical_harmonics([0, 1, 2], x, True, "component")
    assert torch.equal(ours, theirs)
    (first,) = torch.autograd.grad(ours.sum(), x, create_graph=True)
    torch.testing.assert_close(first, torch.autograd.grad(theirs.sum(), x)[0])
    assert torch.autograd.grad(first.sum(), x)[0].isfinite().all()


@pytest.mark.skipif(not HAS_CPP, reason="no compiler")
def test_threads_change_nothing():
    x = vectors(5000, dtype=torch.float32)
    threads = torch.get_num_threads()
    results = []
    for n in (1, 2):
        torch.set_num_threads(n)
        results.append(spherical_harmonics([0, 3, 4], x, True, backend="cpp"))
    torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_the_module_has_the_attributes_of_e3nn():
    ours = SphericalHarmonics("0e + 3o + 4e", True, "component")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from e3nn.o3 import SphericalHarmonics as Reference

        theirs = Reference("0e + 3o + 4e", True, "component")
    names = ("irreps_in", "irreps_out", "normalize", "normalization", "_ls_list")
    for name in (*names, "_lmax", "_is_range_lmax"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert not ours.state_dict()
    assert SphericalHarmonics("1e + 2e", True).irreps_in == o3.Irreps("1e")


def test_the_module_can_be_copied_pickled_and_scripted():
    module = SphericalHarmonics([0, 3, 4], True)
    x = vectors(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(module)
    copies = (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), scripted)
    for other in copies:
        torch.testing.assert_close(other(x), module(x))


def test_the_module_is_traced_without_a_graph_break():
    module = SphericalHarmonics([0, 3, 4], True)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x = vectors(5).requires_grad_()
    (gradient,) = torch.autograd.grad(compiled(x).pow(2).sum(), x)
    (wanted,) = torch.autograd.grad(module(x).pow(2).sum(), x)
    torch.testing.assert_close(gradient, wanted)


def test_inputs_are_left_alone():
    x = vectors(20)
    before = x.clone()
    spherical_harmonics([0, 1], x, True)
    assert torch.equal(x, before)


def test_formulas_are_built_once():
    key = Harmonics((0, 1), True, "norm")
    assert formulas(key) is formulas(Harmonics((0, 1), True, "norm"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"irreps_out": [0, 11]}, "from 0 to 10"),
        ({"irreps_out": [-1]}, "from 0 to 10"),
        ({"irreps_out": [1.5]}, "from 0 to 10"),
        ({"irreps_out": []}, "at least one"),
        ({"irreps_out": "0e + 1o + 2o"}, "have no 2o"),
        ({"irreps_out": [1], "irreps_in": "2e"}, "pseudovector"),
        ({"irreps_out": [1], "normalization": "none"}, "integral, component, norm"),
        ({"irreps_out": [1], "backend": "cuda"}, "auto, torch, cpp, triton, e3nn"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SphericalHarmonics(normalize=True, **arguments)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, 2), r"shape \(4, 2\)"),
        (torch.tensor(1.0), "last dimension must be x, y, z"),
        (torch.zeros(4, 3, dtype=torch.int64), "torch.int64"),
    ],
)
def test_bad_vectors_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        SphericalHarmonics([1], True)(x)


def test_a_gradient_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="last dimension must be 3"):
        OPS.spherical_harmonics_backward(
            vectors(4), torch.zeros(4, 5).double(), [1], True, "norm", "auto"
        )


def test_a_backend_of_another_device_is_refused():
    with pytest.raises(ValueError, match="'cuda' tensors"):
        spherical_harmonics([1], vectors(2), True, backend="triton")
