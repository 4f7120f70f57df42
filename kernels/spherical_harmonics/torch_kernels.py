"""Spherical harmonics in generated torch code: the reference and the fallback.

`run` has the signature of those of `cpp_kernels` and `triton_kernels`. It works
in blocks that stay in the cache of a CPU, and bounds the memory on every device.
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

from .harmonics import Formula, Harmonics

__all__ = ["DTYPES", "formulas", "run"]

DTYPES = (torch.float32, torch.float64)
BLOCK = {"cpu": 16384}
LARGE_BLOCK = 1 << 18


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
        contiguous, of one of `DTYPES`.
    outputs
        To be filled; of the shapes of what they are.
    """
    formula = formulas(harmonics)[name]
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
def _constants(formula: Function, dtype: torch.dtype) -> list[Tensor]:
    """Numbers as tensors: multiplying by them takes torch half the time."""
    return [torch.tensor(number, dtype=dtype) for number in formula.constants]


@dataclass(frozen=True, eq=False)
class Function:
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
def formulas(harmonics: Harmonics) -> dict[str, Function]:
    """Write the forward, backward and double backward pass."""
    return {name: _compile(f) for name, f in harmonics.formulas.items()}


def _compile(formula: Formula) -> Function:
    inputs, outputs = formula
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
    return Function(namespace["formula"], [n.number or 0.0 for n in constants])
