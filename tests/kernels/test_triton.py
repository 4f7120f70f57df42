"""Triton kernels: interpreted, cross-compiled for sm_90, and on a real device."""

import json
import os
import subprocess
import sys

import pytest
import torch

from equicalc.kernels import SphericalHarmonics, jit, spherical_harmonics
from equicalc.kernels.spherical_harmonics import triton_kernels
from equicalc.kernels.spherical_harmonics.harmonics import Harmonics

needs_triton = pytest.mark.skipif(not jit.available(), reason="no Triton")
gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

INTERPRET = """
import json, sys, torch
from equicalc.kernels.spherical_harmonics import torch_kernels, triton_kernels
from equicalc.kernels.spherical_harmonics.harmonics import Harmonics

empty_like = torch.empty_like
torch.empty_like = lambda t: empty_like(t).fill_(float("nan"))
torch.manual_seed(0)

def passes(kernels, harmonics, x, g, v):
    y, gx, vx, vg = map(torch.empty_like, (g, x, x, g))
    kernels.run(harmonics, "forward", [x], [y])
    kernels.run(harmonics, "backward", [x, g], [gx])
    kernels.run(harmonics, "double_backward", [x, g, v], [vx, vg])
    return y, gx, vx, vg

for ls, normalize, dtype, n in json.load(sys.stdin):
    harmonics = Harmonics(tuple(ls), normalize, "component")
    shapes = ((n, 3), (n, harmonics.dim), (n, 3))
    inputs = [torch.randn(shape).to(getattr(torch, dtype)) for shape in shapes]
    found = passes(triton_kernels, harmonics, *inputs)
    wanted = passes(torch_kernels, harmonics, *(t.double() for t in inputs))
    errors = [float((a.double() - b).abs().max() / b.abs().max()) if n else 0.0
              for a, b in zip(found, wanted)]
    print(json.dumps([a.dtype == inputs[0].dtype for a in found] + errors))
"""
CASES = [
    ([0, 1, 2], True, "float32", 0),
    ([0, 1, 2], True, "float32", 130),  # two programs, the second nearly empty
    ([0, 1, 2], True, "float16", 5),
    ([0, 1, 2], True, "bfloat16", 5),
    ([0, 1, 2], True, "float64", 5),
    ([0, 1, 2], False, "float64", 5),
    ([7, 3, 6], True, "float32", 5),  # two groups
    ([7, 3, 6], True, "bfloat16", 5),
    ([8, 10], False, "float32", 5),
    (list(range(11)), True, "float64", 3),
]
TOLERANCE = {"float64": 1e-13, "float32": 2e-5, "float16": 3e-3, "bfloat16": 2e-2}


@needs_triton
def test_interpreted_kernels_agree_with_torch():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INTERPRET],
        input=json.dumps(CASES),
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for case, line in zip(CASES, lines, strict=True):
        *same_dtype, forward, backward, double_xyz, double_grad = json.loads(line)
        assert all(same_dtype), case
        for error in (forward, backward, double_xyz, double_grad):
            assert error < TOLERANCE[case[2]], (case, line)


@needs_triton
@pytest.mark.parametrize(
    ("ls", "name", "dtype", "most"),
    [
        ((0, 1, 2), "forward", "fp32", 64),
        ((0, 1, 2), "forward", "bf16", 64),
        ((0, 1, 2), "forward", "fp16", 64),
        ((0, 1, 2), "forward", "fp64", 128),
        ((0, 1, 2), "backward", "fp32", 64),
        ((0, 1, 2), "double_backward", "fp32", 96),
        ((0, 1, 2, 3, 4), "forward", "fp32", 96),
        pytest.param((0, 3, 4, 5, 6), "backward", "fp32", 168, marks=pytest.mark.slow),
        pytest.param(tuple(range(11)), "forward", "fp32", 168, marks=pytest.mark.slow),
        pytest.param((10,), "double_backward", "fp32", 255, marks=pytest.mark.slow),
    ],
)
def test_kernels_compile_for_sm_90_without_spills(ls, name, dtype, most, sm_90_usage):
    functions, tl = triton_kernels.jit_functions(Harmonics(ls, True, "component"))
    compute = tl.float64 if dtype == "fp64" else tl.float32
    for function in functions[name]:
        arrays = function.arg_names[:-3]
        registers, stack = sm_90_usage(
            function,
            {**dict.fromkeys(arrays, f"*{dtype}"), "n": "i32"},
            {"BLOCK": triton_kernels.BLOCK, "T": compute},
            triton_kernels.OPTIONS,
        )
        assert registers <= most
        assert stack == 0


@needs_triton
def test_every_size_runs_the_same_binary():
    text = triton_kernels.source(Harmonics((0, 1, 2), True, "component"))
    assert text.count('@triton.jit(do_not_specialize=["n"])') == text.count("def ")


def test_groups_are_consecutive_and_small():
    groups = triton_kernels.groups(range(11))
    assert [l for group in groups for l in group] == list(range(11))
    widths = [sum(2 * l + 1 for l in group) for group in groups]
    assert max(widths) <= triton_kernels.GROUP_WIDTH


@gpu
@needs_cuda
@pytest.mark.parametrize("ls", [[0, 1, 2], [0, 3, 4, 5, 6], list(range(11))])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_device_agrees_with_torch_in_double_precision(ls, dtype):
    x = torch.randn(1000, 3, device="cuda", dtype=getattr(torch, dtype))
    harmonics = SphericalHarmonics(ls, True, "component", backend="triton")
    reference = SphericalHarmonics(ls, True, "component", backend="torch")

    def steps(function, t):
        t = t.clone().requires_grad_()
        (first,) = torch.autograd.grad(function(t).sum(), t, create_graph=True)
        return function(t), first, torch.autograd.grad(first.sum(), t)[0]

    for a, b in zip(steps(harmonics, x), steps(reference, x.double()), strict=True):
        error = (a.detach() - b.detach()).abs().max() / b.detach().abs().max()
        assert float(error) < TOLERANCE[dtype]


@gpu
@needs_cuda
def test_device_gradients_are_consistent():
    x = torch.randn(4, 3, device="cuda", dtype=torch.float64, requires_grad=True)

    def y(t):
        return spherical_harmonics([0, 2, 3], t, True, backend="triton")

    assert torch.autograd.gradcheck(y, x)
    assert torch.autograd.gradgradcheck(y, x)


@gpu
@needs_cuda
def test_device_launches_are_safe_in_a_cuda_graph():
    harmonics = SphericalHarmonics([0, 1, 2], True, backend="triton")
    x = torch.randn(100, 3, device="cuda")
    harmonics(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = harmonics(x)
    x.copy_(torch.randn_like(x))
    graph.replay()
    torch.testing.assert_close(y, harmonics(x))
