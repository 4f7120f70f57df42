"""The torch operators ``equicalc::spherical_harmonics*``, on every device.

Three operators compute Y, its vector-Jacobian product, and the product's own; autograd
chains them, so that energies, forces and losses on forces run in generated kernels.
Only the vectors (and the incoming gradients) are saved. Third derivatives go through
differentiable torch code.

float32 and float64 are computed as they are, float16 and bfloat16 in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from equicalc.kernels import jit

from . import cpp_kernels, torch_kernels, triton_kernels
from .harmonics import Harmonics

__all__ = ["Backend", "spherical_harmonics_op"]

Backend = Literal["auto", "torch", "cpp", "triton"]

TENSORS = ("Tensor xyz", "Tensor grad", "Tensor v")
SETTINGS = ("int[] ls", "bool normalize", "str normalization", "str backend")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NO_GRADIENTS = (None,) * len(SETTINGS)


@functools.cache
def _harmonics(ls: tuple[int, ...], normalize: bool, normalization: Any) -> Harmonics:
    return Harmonics(ls, normalize, normalization)


@functools.cache
def _kernels(
    backend: str, device: str, harmonics: Harmonics, dtype: torch.dtype
) -> ModuleType:
    """Choose the module that computes: Triton on CUDA, C++ on CPU, otherwise torch."""
    if backend not in get_args(Backend):
        raise ValueError(
            f"backend {backend!r} was given; choose one of "
            f"{', '.join(get_args(Backend))}"
        )
    if backend == "auto":
        if device == "cuda" and jit.available():
            return triton_kernels
        if device == "cpu" and cpp_kernels.available(harmonics, dtype):
            return cpp_kernels
    if backend in ("auto", "torch"):
        return torch_kernels
    needed, kernels = {
        "cpp": ("cpu", cpp_kernels),
        "triton": ("cuda", triton_kernels),
    }[backend]
    if device != needed and not jit.interpreted():
        raise ValueError(
            f"backend {backend!r} computes on {needed!r} tensors, {device!r} was "
            "given; move the vectors or use backend='auto'"
        )
    return kernels


def _compute(name: str, tensors: Sequence[Tensor], settings: Sequence[Any]) -> Any:
    """Flatten, convert, run one pass, and give the results the inputs' shape."""
    xyz = tensors[0]
    _check(xyz)
    *key, backend = settings
    harmonics = _harmonics(tuple(key[0]), *key[1:])
    for tensor, dim in zip(tensors[1:], (harmonics.dim, 3), strict=False):
        if tensor.shape != (*xyz.shape[:-1], dim) or tensor.device != xyz.device:
            raise ValueError(
                f"a gradient of shape {tuple(tensor.shape)} on {tensor.device} was "
                f"given for vectors of shape {tuple(xyz.shape)} on {xyz.device}; its "
                f"last dimension must be {dim}, everything else as the vectors'"
            )
    dtype = xyz.dtype if xyz.dtype == torch.float64 else torch.float32
    kernels = _kernels(backend, xyz.device.type, harmonics, dtype)
    if kernels is triton_kernels:  # which converts what it loads
        dtype = xyz.dtype
    rows = [
        t.to(dtype).reshape(-1, t.shape[-1]).contiguous()
        if t.dim() != 2 or t.dtype != dtype or not t.is_contiguous()
        else t
        for t in tensors
    ]
    columns = harmonics.formulas[name].outputs
    results = [rows[0].new_empty(len(rows[0]), len(column)) for column in columns]
    kernels.run(harmonics, name, rows, results)
    if xyz.dim() != 2 or xyz.dtype != dtype:
        results = [_shaped(result, xyz) for result in results]
    return tuple(results) if len(results) > 1 else results[0]


def _check(xyz: Tensor) -> None:
    if xyz.dim() == 0 or xyz.shape[-1] != 3:
        raise ValueError(
            f"vectors of shape {tuple(xyz.shape)} were given; the last dimension must "
            "be x, y, z"
        )
    if xyz.dtype not in DTYPES:
        raise ValueError(
            f"vectors of {xyz.dtype} were given; convert them to one of "
            f"{', '.join(map(str, DTYPES))}"
        )


def _shaped(result: Tensor, xyz: Tensor) -> Tensor:
    return result.to(xyz.dtype).reshape(*xyz.shape[:-1], result.shape[-1])


def _operator(
    name: str, n_tensors: int, derivative: Callable[..., tuple]
) -> Callable[..., Any]:
    """Define the operator of a pass.

    Parameters
    ----------
    name
        Of the pass, see `Harmonics.formulas`.
    n_tensors
        How many of `TENSORS` it takes, before the settings.
    derivative
        Maps the context of autograd and gradients of the results to those of the
        tensors.
    """
    suffix = "" if name == "forward" else f"_{name}"
    operator = f"equicalc::spherical_harmonics{suffix}"
    arguments = ", ".join(TENSORS[:n_tensors] + SETTINGS)
    results = "(Tensor, Tensor)" if n_tensors == 3 else "Tensor"
    torch.library.define(operator, f"({arguments}) -> {results}")
    op = getattr(torch.ops.equicalc, f"spherical_harmonics{suffix}").default

    def compute(*args: Any) -> Any:
        return _compute(name, args[:n_tensors], args[n_tensors:])

    def shapes(xyz: Tensor, *args: Any) -> Any:
        _check(xyz)
        if n_tensors == 1:
            return xyz.new_empty(*xyz.shape[:-1], sum(2 * l + 1 for l in args[0]))
        to_xyz = xyz.new_empty(xyz.shape)
        return to_xyz if n_tensors == 2 else (to_xyz, args[0].new_empty(args[0].shape))

    def save(ctx: Any, inputs: tuple, output: Any) -> None:
        ctx.save_for_backward(*inputs[:n_tensors])
        ctx.settings = inputs[n_tensors:]

    def differentiate(ctx: Any, *gradients: Tensor) -> tuple:
        return *derivative(ctx, *gradients), *NO_GRADIENTS

    def vectorize(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple:
        tensors = [
            tensor.expand(info.batch_size, *tensor.shape)
            if dim is None
            else tensor.movedim(dim, 0)
            for tensor, dim in zip(args[:n_tensors], in_dims, strict=False)
        ]
        return op(*tensors, *args[n_tensors:]), (0, 0) if n_tensors == 3 else 0

    torch.library.impl(operator, "default")(compute)
    torch.library.register_fake(operator)(shapes)
    torch.library.register_autograd(operator, differentiate, setup_context=save)
    torch.library.register_vmap(operator, vectorize)
    return op


def _of_forward(ctx: Any, grad: Tensor) -> tuple:
    return (_backward_op(*ctx.saved_tensors, grad, *ctx.settings),)


def _of_backward(ctx: Any, v: Tensor) -> tuple:
    return _double_backward_op(*ctx.saved_tensors, v, *ctx.settings)


def _of_double_backward(ctx: Any, *cotangents: Tensor) -> tuple:
    *key, _ = ctx.settings
    formulas = torch_kernels.formulas(_harmonics(tuple(key[0]), *key[1:]))

    def double_backward(*tensors: Tensor) -> tuple[Tensor, ...]:
        columns = (t.reshape(-1, t.shape[-1]).t() for t in tensors)
        return tuple(
            _shaped(t.t(), tensors[0]) for t in formulas["double_backward"](*columns)
        )

    return torch.func.vjp(double_backward, *ctx.saved_tensors)[1](cotangents)


spherical_harmonics_op = _operator("forward", 1, _of_forward)
_backward_op = _operator("backward", 2, _of_backward)
_double_backward_op = _operator("double_backward", 3, _of_double_backward)
