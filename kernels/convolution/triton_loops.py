"""Triton of the fused uvu convolution: a program for a node, a lane for a channel.

A program goes over the edges of its node and keeps what it sums in registers, so that
no atomics are needed and results are the same to the last bit every time. The loops
and expressions are those of the C++; the weights are given for every edge. Everything
is computed in float32, or float64 for float64.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from equicalc.kernels.emit import triton_statements
from equicalc.kernels.jit import load_kernels

from .paths import Paths
from .product import Loop, Product, loops

__all__ = ["kernels", "options", "run", "source"]

KERNEL = """\
@triton.jit
def {name}({arguments}, ptr, order, other, C: tl.constexpr, LANES: tl.constexpr,
           T: tl.constexpr):
    node = tl.program_id(0).to(tl.int64)
    u = tl.arange(0, LANES)
    ok = u < C
    zero = tl.zeros([LANES], T)
    {before}
    for k in range(tl.load(ptr + node), tl.load(ptr + node + 1)):
        edge = {edge}
        peer = tl.load(other + edge)
        {inside}
    {after}
"""


def run(
    name: str,
    paths: Paths,
    arrays: Sequence[Tensor],
    order: Sequence[Tensor | None],
) -> None:
    """Launch a loop; see `ops.run_compiled` for the arguments."""
    namespace, tl = kernels(paths)
    ptr, edges, other = order
    assert ptr is not None
    if len(ptr) == 1:
        return
    channels = arrays[0].shape[2]
    dtype = tl.float64 if arrays[0].dtype == torch.float64 else tl.float32
    edges = other if edges is None else edges  # not read: the edges as they are
    with torch.cuda.device_of(arrays[0]):
        namespace[name][(len(ptr) - 1,)](
            *arrays, ptr, edges, other, T=dtype, **options(channels)
        )


def options(channels: int) -> dict[str, Any]:
    """Return the sizes and options a kernel is compiled with."""
    lanes = 1 << (channels - 1).bit_length()
    warps = max(1, min(8, lanes // 32))
    sizes = {"C": channels, "LANES": lanes}
    return {**sizes, "num_warps": warps, "enable_fp_fusion": True}


@functools.cache
def kernels(paths: Paths) -> tuple[dict[str, Any], Any]:
    """Return the kernels by name, and `triton.language`."""
    return load_kernels(source(paths), f"convolution {paths}")


@functools.cache
def source(paths: Paths) -> str:
    """Return the Python source of the kernels."""
    product = Product(paths)
    return "\n\n".join(_kernel(product, loop) for loop in loops(product))


def _kernel(product: Product, loop: Loop) -> str:
    before, inside, after = [], [], []
    for array, row in loop.where.items():
        if array not in loop.outputs:
            place = before if row == "node" else inside
            place += _load(product, array, row)
    flat = [e for columns in loop.outputs.values() for e in columns]
    lines, values = triton_statements(product.graph, flat)
    inside += lines
    remaining = iter(zip(flat, values, strict=True))
    for array, columns in loop.outputs.items():
        for j in range(len(columns)):
            expr, text = next(remaining)
            if expr.number is not None:
                text = f"zero + {text}"
            at = f"{array} + {_column(loop.where[array], len(columns), j)}"
            if array == "gy":
                at = f"gy + edge * {len(columns)} + {j}"
                inside.append(f"tl.store({at}, tl.sum(tl.where(ok, {text}, 0.0)))")
            elif loop.where[array] == "edge":
                inside.append(f"tl.store({at}, {text}, ok)")
            else:
                before.append(f"{array}{j} = zero")
                inside.append(f"{array}{j} += {text}")
                after.append(f"tl.store({at}, {array}{j}, ok)")
    by_sender = loop.where.get("g") == "peer"
    return KERNEL.format(
        name=loop.name,
        arguments=", ".join(loop.where),
        edge="tl.load(order + k)" if by_sender else "k",
        before="\n    ".join(before),
        inside="\n        ".join(inside),
        after="\n    ".join(after),
    )


def _load(product: Product, array: str, row: str) -> list[str]:
    """Read channel vectors; of harmonics, the scalars, and B computed from them."""
    columns = product.inputs[array]
    n = len(columns)
    if not array.endswith("y"):
        return [
            f"{c.value} = tl.load({array} + {_column(row, n, j)}, ok, 0.0).to(T)"
            for j, c in enumerate(columns)
        ]
    reads = [
        f"{c.value} = tl.load({array} + {row} * {n} + {j}).to(T)"
        for j, c in enumerate(columns)
    ]
    matrix = array.replace("y", "b")
    lines, values = triton_statements(product.graph, product.coupled[matrix])
    return [*reads, *lines, *(f"{matrix}{j} = {v}" for j, v in enumerate(values))]


def _column(row: str, n_columns: int, column: int) -> str:
    """Offset of the channels in a column of a row."""
    return f"{row} * {n_columns} * C + {column} * C + u"
