"""Spherical harmonics in generated Triton: one thread for a vector.

The degrees are worked through in groups of at most 32 components, which bounds the
registers; the double backward pass launches a kernel for each group, and these add up.
A group's components are read and written as one tile ``(BLOCK, 32)``, so that
neighbouring threads touch neighbouring addresses.

Everything is computed in float32, or float64 for float64, and converted on loads and
stores. The number of vectors is an ordinary argument: no size is compiled twice.

``TRITON_INTERPRET=1`` in the environment runs the kernels on a CPU, for tests.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from equicalc.kernels.emit import triton_statements
from equicalc.kernels.expr import Expr
from equicalc.kernels.jit import load_kernels

from .harmonics import Harmonics, Passes

__all__ = ["jit_functions", "run", "source"]

BLOCK = 128
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}
GROUP_WIDTH = 32

PROLOGUE = """\
    first = tl.program_id(0).to(tl.int64) * BLOCK
    row = tl.arange(0, BLOCK)
    ok = row < n - first
    zero = tl.zeros([BLOCK], T)"""


def run(
    harmonics: Harmonics,
    name: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> None:
    """Compute a pass, see `torch_kernels.run`; float16 and bfloat16 are welcome too."""
    n = len(inputs[0])
    if n == 0:
        return
    functions, tl = jit_functions(harmonics)
    dtype = tl.float64 if inputs[0].dtype == torch.float64 else tl.float32
    grid = (-(-n // BLOCK),)
    with torch.cuda.device_of(inputs[0]):
        for function in functions[name]:
            function[grid](*inputs, *outputs, n, BLOCK, dtype, **OPTIONS)


@functools.cache
def jit_functions(harmonics: Harmonics) -> tuple[dict[str, list[Any]], Any]:
    """Return the kernels of the three passes by name, and `triton.language`."""
    namespace, tl = load_kernels(source(harmonics), str(harmonics))
    doubles = [f"double_backward_{k}" for k in range(len(groups(harmonics.ls)))]
    names = {"forward": ["forward"], "backward": ["backward"]}
    names["double_backward"] = doubles
    return {key: [namespace[name] for name in names[key]] for key in names}, tl


def groups(ls: Sequence[int]) -> list[list[int]]:
    """Split degrees, in their order, into groups of at most 32 components."""
    result: list[list[int]] = []
    for l in ls:
        if result and sum(2 * k + 1 for k in [*result[-1], l]) <= GROUP_WIDTH:
            result[-1].append(l)
        else:
            result.append([l])
    return result


def source(harmonics: Harmonics) -> str:
    """Return the Python source of the kernels."""
    passes = Passes.build(harmonics, groups(harmonics.ls))
    dim = harmonics.dim
    xyz, vector = _read_vectors("xyz", "xyz"), _read_vectors("vector", "uvw")
    forward, backward, kernels = [], [], []
    gradient, start = [passes.graph.const(0.0)] * 3, 0
    for k, outputs in enumerate(passes.forward):
        read, write = _read_tile(start, len(outputs), dim), _write_tile
        forward.append(("", outputs, write("out", start, len(outputs), dim)))
        gradient = [a + b for a, b in zip(gradient, passes.backward[k], strict=True)]
        backward.append((read, gradient, ""))
        double = [
            (read, passes.double_xyz[k], _write_vectors("out_xyz", add=k > 0)),
            ("", passes.double_grad[k], write("out", start, len(outputs), dim)),
        ]
        arrays = "xyz, grad, vector, out_xyz, out"
        kernels.append(_kernel(f"double_backward_{k}", arrays, [xyz, vector], double))
        start += len(outputs)
    backward.append(("", gradient, _write_vectors("out_xyz", add=False)))
    kernels.append(_kernel("forward", "xyz, out", [xyz], forward))
    kernels.append(_kernel("backward", "xyz, grad, out_xyz", [xyz], backward))
    return "\n\n".join(kernels)


def _kernel(
    name: str, arrays: str, reads: list[str], steps: list[tuple[str, list[Expr], str]]
) -> str:
    """Write a kernel of steps: (code before, expressions to compute, code after).

    The code after a step finds its expressions in the variables r0, r1, ...
    """
    body = [PROLOGUE, *reads]
    outputs: list[Expr] = []
    done = 0
    for before, exprs, after in steps:
        outputs += exprs
        lines, results = triton_statements(exprs[0].graph, outputs)
        body += [before, *(f"    {line}" for line in lines[done:])]
        done = len(lines)  # the order is depth first: later outputs only append
        if after:
            for k, text in enumerate(results[-len(exprs) :]):
                constant = exprs[k].number is not None
                body.append(f"    r{k} = {f'zero + {text}' if constant else text}")
            body.append(after)
    signature = f"def {name}({arrays}, n, BLOCK: tl.constexpr, T: tl.constexpr):"
    return "\n".join(['@triton.jit(do_not_specialize=["n"])', signature, *body, ""])


def _read_vectors(array: str, names: str) -> str:
    return "\n".join(
        f"    {name} = tl.load({array} + first * 3 + row * 3 + {k}, ok, 0.0).to(T)"
        for k, name in enumerate(names)
    )


def _write_vectors(array: str, add: bool) -> str:
    lines = []
    for k in range(3):
        pointers = f"{array} + first * 3 + row * 3 + {k}"
        value = f"r{k} + tl.load({pointers}, ok, 0.0).to(T)" if add else f"r{k}"
        lines.append(f"    tl.store({pointers}, {value}, ok)")
    return "\n".join(lines)


def _tile(array: str, start: int, width: int, dim: int) -> tuple[str, str, int]:
    """Pointers and mask of `width` columns, and the power of two that holds them."""
    padded = 1 << (width - 1).bit_length()
    column = f"tl.arange(0, {padded})[None, :]"
    pointers = f"{array} + first * {dim} + (row[:, None] * {dim} + {start} + {column})"
    return pointers, f"ok[:, None] & ({column} < {width})", padded


def _read_tile(start: int, width: int, dim: int) -> str:
    """Load columns of `grad` into variables g<start>, ..."""
    pointers, mask, padded = _tile("grad", start, width, dim)
    lines = [f"    tile = tl.load({pointers}, {mask}, 0.0).to(T)"]
    shape = ", ".join(["BLOCK"] + ["2"] * (padded.bit_length() - 1))
    lines.append(f"    s = tl.reshape(tile, [{shape}])")
    items = {"s": [*range(padded)]}
    while len(items) < padded:  # split the last axis: even from odd columns
        halves: dict[str, list[int]] = {}
        for name, columns in items.items():
            lines.append(f"    {name}a, {name}b = tl.split({name})")
            halves |= {f"{name}a": columns[::2], f"{name}b": columns[1::2]}
        items = halves
    for name, (column,) in items.items():
        if column < width:
            lines.append(f"    g{start + column} = {name}")
    return "\n".join(lines)


def _write_tile(array: str, start: int, width: int, dim: int) -> str:
    """Store variables r0, r1, ... in columns."""
    pointers, mask, padded = _tile(array, start, width, dim)
    names = [f"r{k}" if k < width else "zero" for k in range(padded)]
    lines = []
    while len(names) > 1:  # the first join makes the most significant axis
        half = len(names) // 2
        pairs = list(zip(names[:half], names[half:], strict=True))
        names = [f"j{half}_{k}" for k in range(half)]
        lines += [
            f"    {n} = tl.join({a}, {b})"
            for n, (a, b) in zip(names, pairs, strict=True)
        ]
    lines.append(f"    tile = tl.reshape({names[0]}, [BLOCK, {padded}])")
    lines.append(f"    tl.store({pointers}, tile, {mask})")
    return "\n".join(lines)
