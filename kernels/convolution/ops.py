"""Torch operators around the generated convolution.

The weights `w` are given, (n_edges, n_paths, channels), if the matrix `m` is None;
otherwise they are `w @ m` of hidden features `w` (n_edges, hidden), and never stored.
Arrays that a call does not have are null pointers to the compiled loops.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.library import custom_op

from equicalc.kernels.cpp import invoke, load_library
from equicalc.kernels.cpp_vectors import CTYPES
from equicalc.o3 import Irrep

from . import triton_loops
from .cpp_loops import cpp_source
from .cpp_weights import GIVEN, Weights
from .paths import Paths

__all__ = ["format_paths", "has_library", "library", "run_compiled", "uvu"]

NODES_PER_CHUNK = 8
EDGES_PER_SUM = 256  # at least; a matrix's gradient is summed in at most 16 parts


@functools.cache
def library(
    paths: Paths, channels: int, dtype: torch.dtype, weights: Weights = GIVEN
) -> ctypes.CDLL | None:
    """Compile the loops for given paths, channels and dtype; None if impossible."""
    if dtype not in CTYPES:
        return None
    return load_library(cpp_source(paths, channels, CTYPES[dtype], weights))


@torch.compiler.assume_constant_result  # or torch.compile would trace the compiling
@torch.compiler.assume_constant_result  # torch.compile cannot trace a compiler
def has_library(paths: str, channels: int, dtype: torch.dtype, hidden: int) -> bool:
    """Whether there is a `library`, for paths as `parse_paths` reads them."""
    weights = Weights(hidden)
    return library(parse_paths(paths), channels, dtype, weights) is not None


@functools.cache
def parse_paths(text: str) -> Paths:
    """Read paths like ``"0e,1o|0e,1o,2e|0e"`` (operators take no Python objects)."""
    sides = ([Irrep(name) for name in side.split(",")] for side in text.split("|"))
    return Paths.between(*sides)


def format_paths(paths: Paths) -> str:
    """Write paths as a string that `parse_paths` reads."""
    sides = zip((paths.ls_in, paths.ls_edge, paths.ls_out), paths.parities, strict=True)
    return "|".join(",".join(str(Irrep(*ir)) for ir in zip(*side)) for side in sides)


def run_compiled(
    compiled: ctypes.CDLL,
    name: str,
    arrays: Sequence[Tensor | None],
    order: Sequence[Tensor | None],
    n_chunks: int | None = None,
) -> None:
    """Call a loop of a `library`.

    Parameters
    ----------
    compiled, name : ctypes.CDLL, str
        The loop.
    arrays : sequence of Tensor or None
        Its arguments, contiguous.
    order : sequence of Tensor or None
        Where each node's edges begin, the edges in this order (None: as they are), and
        the other end of every edge.
    n_chunks : int, optional
        Parts that the nodes are worked through in; one for each part of a matrix's
        gradient, otherwise a few nodes each.
    """
    ptr = order[0]
    assert ptr is not None
    n_nodes = len(ptr) - 1
    n_chunks = n_chunks or -(-n_nodes // NODES_PER_CHUNK)
    threads = torch.get_num_threads()
    invoke(compiled, name, *arrays, *order, n_nodes, n_chunks, threads)


def _call(
    name: str,
    paths: str,
    arrays: dict[str, Tensor | None],
    order: Sequence[Tensor | None],
) -> None:
    """Call a loop: Triton for CUDA tensors, else C++.

    Parameters
    ----------
    name : str
        Of the loop; without a matrix `m` that for given weights.
    paths : str
        What it was compiled for, see `parse_paths`.
    arrays : dict
        Its arguments; the first one tells dtype and channels.
    order : sequence of Tensor or None
        See `run_compiled`.
    """
    weights, m = GIVEN, arrays["m"]
    if m is not None:
        weights = Weights(len(m))
    else:
        arrays = {k: a for k, a in arrays.items() if not k.endswith("m")}
    contiguous = [a if a is None else a.contiguous() for a in arrays.values()]
    x = arrays["x"]
    assert x is not None
    if x.is_cuda:
        given = [a for a in contiguous if a is not None]
        triton_loops.run(name, parse_paths(paths), given, order)
        return
    compiled = library(parse_paths(paths), x.shape[2], x.dtype, weights)
    if compiled is None:
        raise RuntimeError("the convolution was not compiled: use backend='torch'")
    parts = arrays.get("gm")
    n_chunks = None if parts is None else len(parts)
    run_compiled(compiled, name, contiguous, order, n_chunks)


Index = list[Tensor]  # src, dst, dst_ptr, src_order, src_ptr of an Adjacency


@custom_op("equicalc::uvu", mutates_args=(), device_types=["cpu", "cuda"])
def uvu(
    x: Tensor, y: Tensor, w: Tensor, m: Tensor | None, adj: Index, paths: str
) -> Tensor:
    """Convolve; see `UVUConvolution`, which checks the shapes."""
    src, _, dst_ptr, _, _ = adj
    out = x.new_empty(x.shape[0], parse_paths(paths).rows, x.shape[2])
    arrays = {"x": x, "w": w, "m": m, "y": y, "out": out}
    _call("forward", paths, arrays, [dst_ptr, None, src])
    return out


@custom_op("equicalc::uvu_backward", mutates_args=(), device_types=["cpu", "cuda"])
def uvu_backward(
    x: Tensor,
    y: Tensor,
    w: Tensor,
    m: Tensor | None,
    g: Tensor,
    adj: Index,
    paths: str,
    matrix: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients for x, y, w and, if `matrix`, m; `g` is the output's gradient."""
    _, dst, _, src_order, src_ptr = adj
    gx, gy, gw, gm = _results(x, y, w, m if matrix else None)
    gm = _parts(gm, len(y))
    arrays = {"x": x, "w": w, "m": m, "y": y, "g": g, "gx": gx, "gw": gw}
    arrays |= {"gm": gm if matrix else None, "gy": gy}
    _call("backward", paths, arrays, [src_ptr, src_order, dst])
    return gx, gy, gw, gm.sum(0)


@custom_op("equicalc::uvu_double", mutates_args=(), device_types=["cpu", "cuda"])
def uvu_double(
    x: Tensor,
    y: Tensor,
    w: Tensor,
    m: Tensor | None,
    g: Tensor,
    vx: Tensor,
    vy: Tensor,
    vw: Tensor,
    vm: Tensor | None,
    adj: Index,
    paths: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of <v, backward> with respect to x, y, w, m and g."""
    src, dst, dst_ptr, src_order, src_ptr = adj
    gx, gy, gw, gm = _results(x, y, w, m)
    gm = _parts(gm, len(y))
    gg = torch.empty_like(g)
    receive = {"x": x, "w": w, "m": m, "y": y}
    tangents = {"vx": vx, "vw": vw, "vm": vm, "vy": vy}
    send = {**receive, "g": g, **tangents, "gx": gx, "gw": gw, "gm": gm, "gy": gy}
    _call("double_senders", paths, send, [src_ptr, src_order, dst])
    receive |= {**tangents, "gg": gg}
    _call("double_receivers", paths, receive, [dst_ptr, None, src])
    return gx, gy, gw, gm.sum(0), gg


def _results(
    x: Tensor, y: Tensor, w: Tensor, m: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Room for the gradients; that of no matrix is empty."""
    gx, gy, gw = (t.new_empty(t.shape) for t in (x, y, w))
    return gx, gy, gw, x.new_empty((0,) if m is None else m.shape)


def _parts(gm: Tensor, n_edges: int) -> Tensor:
    """Room for the parts of a matrix's gradient, which are summed afterwards.

    How many there are depends on the edges alone, so that the sum does not depend on
    the number of threads.
    """
    return gm.new_zeros(max(1, min(16, n_edges // EDGES_PER_SUM)), *gm.shape)


@uvu.register_fake
def _(x: Tensor, y: Tensor, w: Tensor, m: object, adj: Index, paths: str) -> Tensor:
    return x.new_empty(x.shape[0], parse_paths(paths).rows, x.shape[2])


@uvu_backward.register_fake
def _(
    x: Tensor, y: Tensor, w: Tensor, m: Tensor | None, *rest: object
) -> tuple[Tensor, ...]:
    return _results(x, y, w, m if rest[-1] else None)


@uvu_double.register_fake
def _(
    x: Tensor, y: Tensor, w: Tensor, m: Tensor | None, g: Tensor, *rest: object
) -> tuple[Tensor, ...]:
    return *_results(x, y, w, m), torch.empty_like(g)


def _save(ctx, inputs, output) -> None:  # noqa: ANN001
    n_tensors = next(k for k, value in enumerate(inputs) if isinstance(value, list))
    *tensors, adj, ctx.paths = inputs[: n_tensors + 2]
    ctx.save_for_backward(*tensors, *adj)
    ctx.n_tensors = n_tensors
    ctx.set_materialize_grads(False)


def _saved(ctx) -> tuple[tuple[Tensor | None, ...], Index]:  # noqa: ANN001
    saved = ctx.saved_tensors
    return saved[: ctx.n_tensors], list(saved[ctx.n_tensors :])


def _uvu_vjp(ctx, g: Tensor | None) -> tuple[object, ...]:  # noqa: ANN001
    (*tensors, m), adj = _saved(ctx)
    if g is None:  # what uses the output has no derivative
        return *[None] * (len(tensors) + 1), [None] * len(adj), None
    matrix = m is not None and ctx.needs_input_grad[len(tensors)]
    *gradients, gm = uvu_backward(*tensors, m, g, adj, ctx.paths, matrix)
    return *gradients, gm if matrix else None, [None] * len(adj), None


def _uvu_backward_vjp(ctx, *v: Tensor | None) -> tuple[object, ...]:  # noqa: ANN001
    (*tensors, m, g), adj = _saved(ctx)
    *tangents, vm = v
    primals = cast("list[Tensor]", tensors)  # only the matrix may be missing
    filled = [
        torch.zeros_like(t) if a is None else a for a, t in zip(tangents, primals)
    ]
    *gradients, gm, gg = uvu_double(*tensors, m, g, *filled, vm, adj, ctx.paths)
    return *gradients, None if m is None else gm, gg, [None] * len(adj), None, None


uvu.register_autograd(_uvu_vjp, setup_context=_save)
uvu_backward.register_autograd(_uvu_backward_vjp, setup_context=_save)
