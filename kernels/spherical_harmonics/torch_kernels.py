"""Spherical harmonics in generated torch code: the reference and the fallback.

`run` has the signature of those of `cpp_kernels` and `triton_kernels`. It works
in blocks that stay in the cache of a CPU, and bounds the memory on every device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from equicalc.kernels.emit import torch_statements

from .harmonics import Formula, Harmonics

__all__ = ["Function", "formulas", "run"]

BLOCK = {"cpu": 16000}  # rows a power of two apart would share lines of the cache
LARGE_BLOCK = 1 << 18

#: One pass of ``xyz (3, n)``, ``grad (dim, n)`` and ``v (3, n)``, as many as it needs,
#: to a tuple of tensors of the same layout; differentiable.
Function = Callable[..., tuple[Tensor, ...]]


def run(
    harmonics: Harmonics,
    name: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> None:
    """Compute one of the passes, with n vectors.

    ``forward``: Y of xyz. ``backward``: the gradient of sum(grad * Y) for xyz.
    ``double_backward``: those of sum(v * backward(xyz, grad)) for xyz and grad.

    Parameters
    ----------
    harmonics
        Which harmonics.
    name
        Of the pass.
    inputs
        As many as it needs of xyz (n, 3), grad (n, harmonics.dim) and v (n, 3),
        contiguous, of single or double precision.
    outputs
        To be filled; of the shapes of what they are.
    """
    if not len(inputs[0]):
        return
    formula = formulas(harmonics, inputs[0].dtype)[name]
    block = BLOCK.get(inputs[0].device.type, LARGE_BLOCK)
    splits = [tensor.split(block) for tensor in (*inputs, *outputs)]
    for rows in zip(*splits, strict=True):
        columns = [_transposed(tensor).contiguous() for tensor in rows[: len(inputs)]]
        for out, result in zip(rows[len(inputs) :], formula(*columns), strict=True):
            out.copy_(_transposed(result))


def _transposed(matrix: Tensor) -> Tensor:
    """Return the transpose, contiguous where that is faster than a strided copy.

    A shuffle of channels is a transpose, and torch has one of single precision for
    channels that come last that is written for vectors of AVX2.
    """
    if matrix.device.type != "cpu" or matrix.dtype != torch.float32 or not _avx2():
        return matrix.t()
    n_rows, n_columns = matrix.shape
    size = n_rows * n_columns
    pixel = matrix.as_strided((1, size, 1, 1), (size, 1, size, size))
    return torch.channel_shuffle(pixel, n_rows).view(n_columns, n_rows)


@functools.cache
def _avx2() -> bool:
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


@functools.cache
def formulas(
    harmonics: Harmonics, dtype: torch.dtype | None = None
) -> dict[str, Function]:
    """Write the forward, backward and double backward pass.

    With a `dtype`, for tensors of that type alone, faster, and not differentiable:
    tensors are written over after their last use, and numbers are tensors, too, which
    multiplies in half the time.
    """
    return {name: _compile(f, dtype) for name, f in harmonics.formulas.items()}


def _compile(formula: Formula, dtype: torch.dtype | None) -> Function:
    """Write a pass by `torch_statements`."""
    inputs, outputs = formula
    flat = list(chain(*outputs))
    graph = flat[0].graph
    lines, results = torch_statements(graph, flat, in_place=dtype is not None)
    names = iter(
        result if node.number is None else f"torch.full_like(x, {node.number!r})"
        for node, result in zip(flat, results, strict=True)
    )
    stacks = [
        f"torch.stack([{', '.join(next(names) for _ in output)}])" for output in outputs
    ]
    arguments = [f"a{k}" for k in range(len(inputs))]
    body = [
        f"def formula({', '.join(arguments)}):",
        *(f"{', '.join(c)}, = {a}.unbind()" for a, c in zip(arguments, inputs)),
        *lines,
        f"return {', '.join(stacks)},",
    ]
    namespace: dict[str, Any] = {"torch": torch} | {
        f"c{node.index}": torch.tensor(node.number, dtype=dtype)
        if dtype
        else node.number
        for node in graph.topological(flat)
        if node.number is not None
    }
    exec("\n    ".join(body), namespace)
    return namespace["formula"]
