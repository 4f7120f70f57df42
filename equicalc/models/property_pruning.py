"""Networks of properties without some of their degrees."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from equicalc.kernels.convolution import UVWConvolution
from equicalc.models.equitriton import EquiTriton, GraphConvolution
from equicalc.models.potential import InteractionLayer
from equicalc.models.pruning import (
    blocks,
    copy_interaction,
    degrees_left,
    places,
    pruned,
    rebuilt,
)
from equicalc.models.qm9net import KernelLayer, OutputBlock, QM9Net
from equicalc.nn.kernel_conv import KernelConv

__all__ = ["pruned"]

Part = TypeVar("Part", bound=nn.Module)


@pruned.register
def _equitriton(model: EquiTriton, drop: Collection[int]) -> EquiTriton:
    ls = degrees_left(model.config.ls, drop)
    new = rebuilt(model, replace(model.config, ls=ls))
    for old, layer in _pairs(model, new, GraphConvolution):
        _copy_paths(old, layer)
    return new


@torch.no_grad()
def _copy_paths(old: GraphConvolution, new: GraphConvolution) -> None:
    """Copy the filters of all paths that are left.

    The sum over the paths to a degree is divided by the root of their number.
    """
    size = old.convolution.channels_in * old.convolution.channels_out
    before, after = (layer.convolution.paths.couplings for layer in (old, new))
    left = blocks(old.filters.matrix, places(before, after), size, 1)
    n_before, n_after = (Counter(l for _, _, l in paths) for paths in (before, after))
    factors = [math.sqrt(n_after[l] / n_before[l]) for _, _, l in after]
    new.filters.matrix.copy_(left * left.new_tensor(factors).repeat_interleave(size))


@pruned.register
def _qm9net(model: QM9Net, drop: Collection[int]) -> QM9Net:
    config = model.config
    degrees_left(model.degrees, drop)  # which tells what is wrong
    smaller = replace(
        config,
        multiplicities=_without(config.multiplicities, drop),
        output_multiplicities=_without(config.output_multiplicities, drop),
    )
    new = rebuilt(model, smaller)
    for old, layer in _pairs(model, new, InteractionLayer):
        copy_interaction(old, layer)
    for old, layer in _pairs(model, new, KernelLayer):
        _copy_kernels(old.convolution, layer.convolution, _scalars_left(old, drop))
    for old, block in _pairs(model, new, OutputBlock):
        if isinstance(old.head, KernelConv) and isinstance(block.head, KernelConv):
            _copy_kernels(old.head, block.head, torch.zeros(1, dtype=torch.long))
    return new


def _without(multiplicities: Sequence[int], drop: Collection[int]) -> tuple[int, ...]:
    """Return the channels of every degree, 0 for those that are dropped."""
    return tuple(0 if l in drop else n for l, n in enumerate(multiplicities))


def _scalars_left(layer: KernelLayer, drop: Collection[int]) -> Tensor:
    """Return which scalars of a layer's convolution stay: all but lost gates."""
    n = list(layer.channels_out)  # scalars, and as many gates as channels with l > 0
    groups = torch.arange(sum(n)).split(n)
    return torch.cat([group for l, group in enumerate(groups) if l not in drop])


@torch.no_grad()
def _copy_kernels(old: KernelConv, new: KernelConv, scalars: Tensor) -> None:
    """Copy the filters of all pairs of degrees that are left.

    Parameters
    ----------
    scalars : (n,)
        Which of the old scalars, in the output, the new ones are.
    """
    matrices = old.filters.matrix.split(old.n_weights, 1)
    left = []
    for pair, convolution, matrix in zip(old.pairs, old.convolutions, matrices):
        if pair in new.pairs:
            n_out = cast(UVWConvolution, convolution).channels_out
            matrix = matrix.unflatten(1, (-1, n_out))
            kept = matrix[:, :, scalars] if pair[1] == 0 else matrix
            left.append(kept.flatten(1))
    new.filters.matrix.copy_(torch.cat(left, 1))


def _pairs(
    old: nn.Module, new: nn.Module, kind: type[Part]
) -> Iterator[tuple[Part, Part]]:
    """Yield the parts of a kind of both networks, in order."""
    found = ([m for m in net.modules() if isinstance(m, kind)] for net in (old, new))
    return zip(*found)
