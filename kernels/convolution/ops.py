"""Torch operators around the compiled convolution."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor
from torch.library import custom_op

from equicalc.kernels.cpp import load_library

from .emit import cpp_source
from .paths import Paths

__all__ = ["library", "uvu"]

CTYPES = {torch.float32: "float", torch.float64: "double"}


@functools.cache
def library(paths: Paths, channels: int, dtype: torch.dtype) -> ctypes.CDLL | None:
    """Compile the loops for given paths, channels and dtype; None if impossible."""
    if dtype not in CTYPES:
        return None
    return load_library(cpp_source(paths, channels, CTYPES[dtype]))


@functools.cache
def parse_paths(text: str) -> Paths:
    """Read paths written as ``"0,1|0,1,2|0"`` (operators take no Python objects)."""
    return Paths(*(tuple(map(int, ls.split(","))) for ls in text.split("|")))


def format_paths(paths: Paths) -> str:
    """Write paths as a string that `parse_paths` reads."""
    return "|".join(
        ",".join(map(str, ls)) for ls in (paths.ls_in, paths.ls_edge, paths.ls_out)
    )


def run(
    name: str, paths: str, arrays: list[Tensor], order: list[Tensor | None]
) -> None:
    """Call a compiled loop; the first array tells dtype and channels."""
    first = arrays[0]
    compiled = library(parse_paths(paths), first.shape[2], first.dtype)
    if compiled is None:
        raise RuntimeError("the convolution was not compiled: use backend='torch'")
    ptr = order[0]
    assert ptr is not None
    compiled[name](
        *(ctypes.c_void_p(a.data_ptr()) for a in arrays),
        *(None if o is None else ctypes.c_void_p(o.data_ptr()) for o in order),
        ctypes.c_long(len(ptr) - 1),
        ctypes.c_int(torch.get_num_threads()),
    )


Tensors = list[Tensor]  # src, dst, dst_ptr, src_order, src_ptr of an Adjacency


@custom_op("equicalc::uvu", mutates_args=(), device_types="cpu")
def uvu(x: Tensor, y: Tensor, w: Tensor, adj: Tensors, paths: str) -> Tensor:
    """Convolve; see `UVUConvolution` for shapes."""
    src, _, dst_ptr, _, _ = adj
    out = x.new_empty(len(x), parse_paths(paths).rows, x.shape[2])
    x, y, w = x.contiguous(), y.contiguous(), w.contiguous()
    run("forward", paths, [x, w, y, out], [dst_ptr, None, src])
    return out


@custom_op("equicalc::uvu_backward", mutates_args=(), device_types="cpu")
def uvu_backward(
    x: Tensor, y: Tensor, w: Tensor, g: Tensor, adj: Tensors, paths: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to x, y and w for the output's gradient g."""
    _, dst, _, src_order, src_ptr = adj
    x, y, w, g = x.contiguous(), y.contiguous(), w.contiguous(), g.contiguous()
    gx, gy, gw = torch.empty_like(x), torch.empty_like(y), torch.empty_like(w)
    run("backward", paths, [x, w, y, g, gx, gw, gy], [src_ptr, src_order, dst])
    return gx, gy, gw


@custom_op("equicalc::uvu_double", mutates_args=(), device_types="cpu")
def uvu_double(
    x: Tensor,
    y: Tensor,
    w: Tensor,
    g: Tensor,
    vx: Tensor,
    vy: Tensor,
    vw: Tensor,
    adj: Tensors,
    paths: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of <v, backward> with respect to x, y, w and g."""
    src, dst, dst_ptr, src_order, src_ptr = adj
    x, y, w, g, vx, vy, vw = (t.contiguous() for t in (x, y, w, g, vx, vy, vw))
    gx, gy, gw, gg = (torch.empty_like(t) for t in (x, y, w, g))
    send = [x, w, y, g, vx, vw, vy, gx, gw, gy]
    run("double_senders", paths, send, [src_ptr, src_order, dst])
    receive = [x, w, y, vx, vw, vy, gg]
    run("double_receivers", paths, receive, [dst_ptr, None, src])
    return gx, gy, gw, gg


@uvu.register_fake
def _(x: Tensor, y: Tensor, w: Tensor, adj: Tensors, paths: str) -> Tensor:
    return x.new_empty(x.shape[0], parse_paths(paths).rows, x.shape[2])


@uvu_backward.register_fake
def _(
    x: Tensor, y: Tensor, w: Tensor, g: Tensor, adj: Tensors, paths: str
) -> tuple[Tensor, ...]:
    return torch.empty_like(x), torch.empty_like(y), torch.empty_like(w)


@uvu_double.register_fake
def _(x: Tensor, y: Tensor, w: Tensor, g: Tensor, *rest: object) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(t) for t in (x, y, w, g))


def _save(ctx, inputs, output) -> None:  # noqa: ANN001
    *tensors, adj, paths = inputs
    ctx.save_for_backward(*tensors, *adj)
    ctx.n_tensors, ctx.paths = len(tensors), paths


def _saved(ctx) -> tuple[list[Tensor], Tensors]:  # noqa: ANN001
    saved = ctx.saved_tensors
    return saved[: ctx.n_tensors], list(saved[ctx.n_tensors :])


def _uvu_vjp(ctx, g: Tensor) -> tuple[object, ...]:  # noqa: ANN001
    tensors, adj = _saved(ctx)
    return *uvu_backward(*tensors, g, adj, ctx.paths), [None] * len(adj), None


def _uvu_backward_vjp(ctx, *v: Tensor) -> tuple[object, ...]:  # noqa: ANN001
    tensors, adj = _saved(ctx)
    return *uvu_double(*tensors, *v, adj, ctx.paths), [None] * len(adj), None


uvu.register_autograd(_uvu_vjp, setup_context=_save)
uvu_backward.register_autograd(_uvu_backward_vjp, setup_context=_save)
