"""The Triton convolution: interpreted, cross-compiled for sm_90, on a real device."""

import os
import subprocess
import sys

import pytest
import torch

from equicalc.kernels import jit
from equicalc.kernels.convolution import Adjacency, UVUConvolution, triton_loops
from equicalc.kernels.convolution.paths import Paths

needs_triton = pytest.mark.skipif(not jit.available(), reason="no Triton")
gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

INTERPRET = """
import torch
from equicalc.kernels.convolution import Adjacency, UVUConvolution
from equicalc.kernels.convolution.triton_loops import run

torch.manual_seed(0)
ls = 0, 1, (1, 1)  # with a pseudovector
convolution = UVUConvolution(ls, (0, 1, 2), ls, backend="torch")
paths, channels = convolution.paths, 5  # no power of two
dst, src = torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([1, 2, 0, 0, 2, 1])
adj = Adjacency.from_edges(src, dst, 4)  # the last node has no edges
shapes = (4, paths.n_in, channels), (6, 9), (6, convolution.n_paths, channels)
x, y, w = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes)
vx, vy, vw = map(torch.randn_like, (x, y, w))
out = convolution(x, y, w, adj)
g = torch.randn_like(out).requires_grad_()
first = torch.autograd.grad(out, (x, y, w), g, create_graph=True)
second = torch.autograd.grad(first, (x, y, w, g), (vx, vy, vw))

x, y, w, g = (t.detach() for t in (x, y, w, g))
def empty(*like):
    return [torch.full_like(t, float("nan")) for t in like]
def check(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-12, atol=1e-12)

receive = [adj.dst_ptr, None, adj.src]
send = [adj.src_ptr, adj.src_order, adj.dst]
[found] = empty(out)
run("forward", paths, [x, w, y, found], receive)
check([found], [out])
gx, gy, gw = empty(x, y, w)
run("backward", paths, [x, w, y, g, gx, gw, gy], send)
check([gx, gy, gw], first)
gx, gy, gw, gg = empty(x, y, w, g)
run("double_senders", paths, [x, w, y, g, vx, vw, vy, gx, gw, gy], send)
run("double_receivers", paths, [x, w, y, vx, vw, vy, gg], receive)
check([gx, gy, gw, gg], second)
"""


@needs_triton
def test_interpreted_loops_agree_with_the_definition():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INTERPRET],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@needs_triton
@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("forward", 64),
        ("backward", 80),
        ("double_receivers", 128),
        ("double_senders", 168),
    ],
)
def test_loops_compile_for_sm_90_without_spills(name, most, sm_90_usage):
    namespace, tl = triton_loops.kernels(Paths.between((0, 1, 2), (0, 1, 2), (0, 1)))
    function = namespace[name]
    arrays, index = function.arg_names[:-6], ("ptr", "order", "other")
    options = triton_loops.options(64)
    sizes = {name: options.pop(name) for name in ("C", "LANES")}
    registers, stack = sm_90_usage(
        function,
        {**dict.fromkeys(arrays, "*fp32"), **dict.fromkeys(index, "*i64")},
        {**sizes, "T": tl.float32},
        options,
    )
    assert registers <= most
    assert stack == 0


def random_case(dtype, channels=24, n_nodes=20, n_edges=200):
    ls = (0, 1, 2)
    convolution = UVUConvolution(ls, ls, ls)
    dst = torch.randint(0, n_nodes - 1, (n_edges,), device="cuda").sort().values
    src = torch.randint(0, n_nodes, (n_edges,), device="cuda")
    shapes = (n_nodes, 9, channels), (n_edges, 9), (n_edges, 8)
    shapes = *shapes, (8, convolution.n_paths * channels)
    inputs = [
        torch.randn(s, device="cuda", dtype=dtype, requires_grad=True) for s in shapes
    ]
    return convolution, inputs, Adjacency.from_edges(src, dst, n_nodes)


def steps(convolution, inputs, adj):
    x, y, hidden, matrix = inputs
    out = convolution(x, y, hidden, adj, matrix)
    first = torch.autograd.grad(out.square().sum(), inputs, create_graph=True)
    scalar = torch.stack([t.square().sum() for t in first]).sum()
    return [out, *first, *torch.autograd.grad(scalar, inputs)]


@gpu
@needs_cuda
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)]
)
def test_device_agrees_with_the_definition(dtype, tolerance):
    convolution, inputs, adj = random_case(dtype)
    found = steps(convolution, inputs, adj)
    convolution.backend = "torch"
    wanted = steps(convolution, inputs, adj)
    for a, b in zip(found, wanted, strict=True):
        atol = tolerance * b.detach().abs().max().item()
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@gpu
@needs_cuda
def test_device_results_are_the_same_to_the_last_bit():
    case = random_case(torch.float32)
    again = zip(steps(*case), steps(*case), strict=True)
    assert all(torch.equal(a, b) for a, b in again)


@gpu
@needs_cuda
def test_device_launches_are_safe_in_a_cuda_graph():
    convolution, (x, y, w, m), adj = random_case(torch.float32)
    with torch.no_grad():
        convolution(x, y, w, adj, m)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = convolution(x, y, w, adj, m)
        x.copy_(torch.randn_like(x))
        graph.replay()
        torch.testing.assert_close(out, convolution(x, y, w, adj, m))
