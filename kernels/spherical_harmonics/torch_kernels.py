"""Spherical harmonics in generated torch code: the reference and the fallback.

The three functions have the signatures of `cpp_kernels` and `triton_kernels`. They run
in blocks that stay in the cache of a CPU, and bound the memory on every device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from equicalc.kernels.emit import torch_statements
from equicalc.kernels.expr import Expr

from .harmonics import Harmonics

__all__ = ["DTYPES", "backward", "double_backward", "formulas", "forward"]

DTYPES = (torch.float32, torch.float64)
BLOCK = {"cpu": 16384}
LARGE_BLOCK = 1 << 18


def forward(harmonics: Harmonics, xyz: Tensor) -> Tensor:
    """Y(xyz).

    Parameters
    ----------
    harmonics
        Which harmonics.
    xyz
        ``(n, 3)``, float32 or float64, contiguous.

    Returns
    -------
    Tensor
        ``(n, harmonics.dim)``.
    """
    y = xyz.new_empty(len(xyz), harmonics.dim)
    _run(formulas(harmonics)[0], [xyz], [y])
    return y


def backward(harmonics: Harmonics, xyz: Tensor, grad: Tensor) -> Tensor:
    """Gradient of sum(grad * Y) with respect to xyz; `grad` is ``(n, dim)``."""
    out = torch.empty_like(xyz)
    _run(formulas(harmonics)[1], [xyz, grad], [out])
    return out


def double_backward(
    harmonics: Harmonics, xyz: Tensor, grad: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of sum(v * backward(xyz, grad)) for xyz and grad; `v` is ``(n, 3)``."""
    out = torch.empty_like(xyz), torch.empty_like(grad)
    _run(formulas(harmonics)[2], [xyz, grad, v], out)
    return out


def _run(formula: Formula, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    first = inputs[0]
    constants = _constants(formula, first.dtype)
    block = BLOCK.get(first.device.type, LARGE_BLOCK)
    splits = [tensor.split(block) for tensor in (*inputs, *outputs)]
    for rows in zip(*splits, strict=True):
        columns = [tensor.t().contiguous() for tensor in rows[: len(inputs)]]
        results = formula(*columns, constants=constants)
        for out, result in zip(rows[len(inputs) :], results, strict=True):
            out.copy_(result.t())


@functools.cache
def _constants(formula: Formula, dtype: torch.dtype) -> list[Tensor]:
    """Numbers as tensors: multiplying by them takes torch half the time."""
    return [torch.tensor(number, dtype=dtype) for number in formula.constants]


@dataclass(frozen=True, eq=False)
class Formula:
    """One pass as a differentiable function of tensors, written by `torch_statements`.

    It is called with ``xyz (3, n)``, ``grad (dim, n)`` and ``v (3, n)``, as many as the
    pass needs, and returns a tuple of tensors of the same layout.
    """

    function: Callable[..., tuple[Tensor, ...]]
    constants: list[float]

    def __call__(
        self, *columns: Tensor, constants: Sequence[Tensor | float] | None = None
    ) -> tuple[Tensor, ...]:
        """Evaluate; `constants` are the formula's own in another form."""
        return self.function(*columns, constants or self.constants)


@functools.cache
def formulas(harmonics: Harmonics) -> tuple[Formula, Formula, Formula]:
    """Write the forward, backward and double backward pass."""
    passes = harmonics.passes
    names = ["xyz", [f"g{k}" for k in range(harmonics.dim)], "uvw"]
    double = passes.double_xyz + passes.double_grad
    return (
        _compile(names[:1], passes.forward),
        _compile(names[:2], passes.backward),
        _compile(names, double),
    )


def _compile(inputs: Sequence[Sequence[str]], outputs: Sequence[list[Expr]]) -> Formula:
    flat = list(chain(*outputs))
    graph = flat[0].graph
    lines, results = torch_statements(graph, flat)
    names = iter(
        result if node.number is None else f"torch.full_like(x, {node.number!r})"
        for node, result in zip(flat, results, strict=True)
    )
    stacks = [
        f"torch.stack([{', '.join(next(names) for _ in output)}])" for output in outputs
    ]
    constants = [n for n in graph.topological(flat) if n.number is not None]
    arguments = [f"a{k}" for k in range(len(inputs))]
    body = [
        *(
            f"{', '.join(columns)}, = {argument}.unbind()"
            for argument, columns in zip(arguments, inputs, strict=True)
        ),
        f"[{', '.join(f'c{n.index}' for n in constants)}] = constants",
        *lines,
        f"return {', '.join(stacks)},",
    ]
    source = [f"def formula({', '.join(arguments)}, constants):", *body]
    namespace: dict[str, Any] = {"torch": torch}
    exec("\n    ".join(source), namespace)
    return Formula(namespace["formula"], [n.number or 0.0 for n in constants])
