"""Networks without some of their degrees: smaller weights, copied from the whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from equicalc.models.potential import InteractionLayer, Potential
from equicalc.nn.gate import InvariantGate
from equicalc.nn.linear import DegreeLinear

Network = TypeVar("Network", bound=nn.Module)


@singledispatch
def pruned(model: nn.Module, drop: Collection[int]) -> nn.Module:
    """Return a smaller network that computes what the network does without degrees.

    Every weight that only the features and messages of a degree need is gone; all
    others are copied. The result equals the network with the degrees removed, see
    `equicalc.models.taps.Taps.scaled`.

    Parameters
    ----------
    model
        A `Potential`, `QM9Net` or `EquiTriton`; it is left as it is.
    drop
        Degrees l > 0. A potential without l = 1 has no charges and no dipole.

    Raises
    ------
    ValueError
        If the network cannot be pruned, or has no such degree.

    Examples
    --------
    >>> from equicalc.models import PotentialConfig
    >>> network = Potential(PotentialConfig(elements=(1, 8), channels=4))
    >>> pruned(network, [2]).config.ls
    (0, 1)
    """
    raise ValueError(
        "pruning is there for potentials and networks of properties, not for "
        f"{type(model).__name__}: register the network with "
        "equicalc.models.pruning.pruned"
    )


@pruned.register
def _potential(model: Potential, drop: Collection[int]) -> Potential:
    config = model.config
    old_layers = _layers(model)
    smaller = replace(
        config,
        ls=degrees_left(config.ls, drop),
        dipole=config.dipole and 1 not in drop,
        gate_widths=tuple(layer.gate.hidden.out_features for layer in old_layers),
    )
    new = rebuilt(model, smaller)
    for old_layer, layer in zip(old_layers, _layers(new)):
        copy_interaction(old_layer, layer)
    return new


def _layers(model: Potential) -> list[InteractionLayer]:
    return [cast(InteractionLayer, layer) for layer in model.layers]


def degrees_left(ls: Sequence[int], drop: Collection[int]) -> tuple[int, ...]:
    """Return the degrees of a network but for some.

    Raises
    ------
    ValueError
        If none is to be dropped, one that is not there, or 0.

    Examples
    --------
    >>> degrees_left((0, 1, 2), {1})
    (0, 2)
    """
    if 0 in drop:
        raise ValueError(
            "l = 0 cannot be dropped: energies and properties are read from the scalars"
        )
    if not drop or set(drop) - set(ls):
        raise ValueError(
            f"degrees {sorted(drop)} were given to drop, the network has {list(ls)}: "
            "name some of those above 0"
        )
    return tuple(l for l in ls if l not in drop)


def rebuilt(model: Network, config: Any) -> Network:
    """Return a network of another configuration with all weights that still fit it.

    Parameters
    ----------
    model
        Has a ``config`` and ``harmonics``, as all networks that are pruned.
    config
        Of the new one.
    """
    kind = cast(Any, type(model))
    with torch.random.fork_rng(devices=[]):  # first weights are random
        new = kind(config, cast(Any, model).harmonics.backend)
    like = next(model.parameters())
    new = new.to(like.device, like.dtype)
    own = new.state_dict()
    fitting = {
        name: value
        for name, value in model.state_dict().items()
        if name in own and own[name].shape == value.shape
    }
    new.load_state_dict(own | fitting)
    return new.train(model.training)


@torch.no_grad()
def copy_interaction(old: InteractionLayer, new: InteractionLayer) -> None:
    """Copy the weights of the degrees and paths that both layers have."""
    channels = old.species_scale.shape[2]
    _copy_degrees(old.before, new.before)
    _copy_degrees(old.self_interaction, new.self_interaction)
    new.species_scale.copy_(old.species_scale[:, places(_kept(old), _kept(new))])
    # 1. filters: one column for every path and channel
    couplings = old.convolution.paths.couplings
    paths = places(couplings, new.convolution.paths.couplings)
    for a, b in zip(old.filters.weights[:-1], new.filters.weights[:-1]):
        b.copy_(a)
    new.filters.matrix.copy_(blocks(old.filters.matrix, paths, channels, 1))
    # 2. after: one row for every path to the degree and channel
    for l, weight in zip(new.after.ls, new.after.weights):
        ways = [path for path in couplings if path[2] == l]
        left = [path for path in new.convolution.paths.couplings if path[2] == l]
        old_weight = old.after.weights[old.after.ls.index(l)]
        weight.copy_(blocks(old_weight, places(ways, left), channels, 0))
    _copy_gate(old.gate, new.gate, places(old.after.ls, new.after.ls), channels)


def _copy_degrees(old: DegreeLinear, new: DegreeLinear) -> None:
    for l, weight in zip(new.ls, new.weights):
        weight.copy_(old.weights[old.ls.index(l)])


def _copy_gate(
    old: InvariantGate, new: InvariantGate, degrees: list[int], channels: int
) -> None:
    new.hidden.weight.copy_(blocks(old.hidden.weight, degrees, channels, 1))
    new.hidden.bias.copy_(old.hidden.bias)
    new.output.weight.copy_(blocks(old.output.weight, degrees, channels, 0))
    new.output.bias.copy_(blocks(old.output.bias, degrees, channels, 0))


def _kept(layer: InteractionLayer) -> list[int]:
    return [layer.ls_in[k] for k in layer.kept]


def places(old: Sequence[object], new: Sequence[object]) -> list[int]:
    """Return where the items of a sequence stand in another one."""
    return [list(old).index(item) for item in new]


def blocks(weight: Tensor, chosen: list[int], size: int, axis: int) -> Tensor:
    """Return blocks of `size` rows (or columns) of a weight."""
    parts = weight.unflatten(axis, (-1, size))
    index = torch.tensor(chosen, device=weight.device)
    return parts.index_select(axis, index).flatten(axis, axis + 1)
