"""The torch operators ``equicalc::spherical_harmonics*``, on every device.

Three operators compute Y, its vector-Jacobian product, and the product's own; autograd
chains them, so that energies, forces and losses on forces run in generated kernels.
Only the vectors (and the incoming gradients) are saved. Third derivatives go through
differentiable torch code.

float32 and float64 are computed as they are, float16 and bfloat16 in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from equicalc.kernels import jit

from . import cpp_kernels, torch_kernels, triton_kernels
from .harmonics import Harmonics

__all__ = ["Backend", "compute", "spherical_harmonics_op"]

Backend = Literal["auto", "torch", "cpp", "triton"]

FORWARD = "equicalc::spherical_harmonics"
BACKWARD = "equicalc::spherical_harmonics_backward"
DOUBLE_BACKWARD = "equicalc::spherical_harmonics_double_backward"
SETTINGS = "int[] ls, bool normalize, str normalization, str backend"
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

torch.library.define(FORWARD, f"(Tensor xyz, {SETTINGS}) -> Tensor")
torch.library.define(BACKWARD, f"(Tensor xyz, Tensor grad, {SETTINGS}) -> Tensor")
torch.library.define(
    DOUBLE_BACKWARD,
    f"(Tensor xyz, Tensor grad, Tensor v, {SETTINGS}) -> (Tensor, Tensor)",
)
spherical_harmonics_op: Callable[..., Tensor] = (
    torch.ops.equicalc.spherical_harmonics.default
)
_backward_op = torch.ops.equicalc.spherical_harmonics_backward.default
_double_backward_op = torch.ops.equicalc.spherical_harmonics_double_backward.default


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
    candidates = {"cpp": cpp_kernels, "triton": triton_kernels}
    devices = {"cpp": "cpu", "triton": "cuda"}
    if backend in candidates:
        if devices[backend] != device and not jit.interpreted():
            raise ValueError(
                f"backend {backend!r} computes on {devices[backend]!r} tensors, "
                f"{device!r} was given; move the vectors or use backend='auto'"
            )
        return candidates[backend]
    if backend == "auto" and device == "cuda" and jit.available():
        return triton_kernels
    if (
        backend == "auto"
        and device == "cpu"
        and cpp_kernels.available(harmonics, dtype)
    ):
        return cpp_kernels
    return torch_kernels


def compute(name: str, tensors: tuple[Tensor, ...], settings: tuple) -> Any:
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
    if xyz.dtype in kernels.DTYPES:
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


@torch.library.impl(FORWARD, "default")
def _forward(xyz: Tensor, *settings: Any) -> Tensor:
    return compute("forward", (xyz,), settings)


@torch.library.impl(BACKWARD, "default")
def _backward(xyz: Tensor, grad: Tensor, *settings: Any) -> Tensor:
    return compute("backward", (xyz, grad), settings)


@torch.library.impl(DOUBLE_BACKWARD, "default")
def _double_backward(
    xyz: Tensor, grad: Tensor, v: Tensor, *settings: Any
) -> tuple[Tensor, Tensor]:
    return compute("double_backward", (xyz, grad, v), settings)


@torch.library.register_fake(FORWARD)
def _(xyz: Tensor, ls: list[int], *_: Any) -> Tensor:
    _check(xyz)
    return xyz.new_empty(*xyz.shape[:-1], sum(2 * l + 1 for l in ls))


@torch.library.register_fake(BACKWARD)
def _(xyz: Tensor, grad: Tensor, *_: Any) -> Tensor:
    return xyz.new_empty(xyz.shape)


@torch.library.register_fake(DOUBLE_BACKWARD)
def _(xyz: Tensor, grad: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return xyz.new_empty(xyz.shape), grad.new_empty(grad.shape)


def _save(n_tensors: int) -> Callable[..., None]:
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        ctx.save_for_backward(*inputs[:n_tensors])
        ctx.settings = inputs[n_tensors:]

    return setup_context


NO_GRADIENTS = (None,) * 4  # of the settings


def _differentiate_forward(ctx: Any, grad: Tensor) -> tuple:
    (xyz,) = ctx.saved_tensors
    return _backward_op(xyz, grad, *ctx.settings), *NO_GRADIENTS


def _differentiate_backward(ctx: Any, v: Tensor) -> tuple:
    xyz, grad = ctx.saved_tensors
    double: tuple = _double_backward_op(xyz, grad, v, *ctx.settings)
    return *double, *NO_GRADIENTS


def _differentiate_double_backward(ctx: Any, *cotangents: Tensor) -> tuple:
    *key, _ = ctx.settings
    formulas = torch_kernels.formulas(_harmonics(tuple(key[0]), *key[1:]))

    def double_backward(*tensors: Tensor) -> tuple[Tensor, ...]:
        columns = (t.reshape(-1, t.shape[-1]).t() for t in tensors)
        return tuple(
            _shaped(t.t(), tensors[0]) for t in formulas["double_backward"](*columns)
        )

    pull_back: Callable[..., tuple] = torch.func.vjp(
        double_backward, *ctx.saved_tensors
    )[1]
    return *pull_back(cotangents), *NO_GRADIENTS


def _vectorize(operator: Callable[..., Any], n_tensors: int) -> Callable[..., Any]:
    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple:
        tensors = [
            tensor.expand(info.batch_size, *tensor.shape)
            if dim is None
            else tensor.movedim(dim, 0)
            for tensor, dim in zip(args[:n_tensors], in_dims, strict=False)
        ]
        results = operator(*tensors, *args[n_tensors:])
        return results, (0, 0) if isinstance(results, tuple) else 0

    return rule


OPERATORS: list[tuple[str, Callable[..., Any], Callable[..., tuple], int]] = [
    (FORWARD, spherical_harmonics_op, _differentiate_forward, 1),
    (BACKWARD, _backward_op, _differentiate_backward, 2),
    (DOUBLE_BACKWARD, _double_backward_op, _differentiate_double_backward, 3),
]
for _name, _operator, _rule, _n_tensors in OPERATORS:
    torch.library.register_autograd(_name, _rule, setup_context=_save(_n_tensors))
    torch.library.register_vmap(_name, _vectorize(_operator, _n_tensors))
