"""Models of a calculator: found, loaded, and brought to a device and a precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from equicalc.checkpoint import load_checkpoint
from equicalc.models import AnalyticPotential, Mace, Potential, ReplayedPotential
from equicalc.models.device import resolve_device
from equicalc.pretrained import Registry

#: What a calculator takes as a model: a name, a checkpoint, a network; None: default.
ModelSpec = str | Path | nn.Module | None

IN_MEMORY = " in memory>"
DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Placement(NamedTuple):
    """Where and how a model runs.

    Attributes
    ----------
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    dtype : str
        ``"float32"`` or ``"float64"``.
    backend : str
        Kernels, see `equicalc.models`.
    """

    device: str = "auto"
    dtype: str = "float32"
    backend: str = "auto"


@dataclass
class Member:
    """One model, ready to evaluate; pickles as configuration and weights.

    Attributes
    ----------
    model : nn.Module
        In evaluation mode, its weights frozen.
    placement : Placement
        What was asked for; ``"auto"`` is resolved anew where it is unpickled.
    label : str
        Its name, its path, or ``<class in memory>``.
    card : mapping
        The model card of the checkpoint; empty for a network from memory.
    """

    model: nn.Module
    placement: Placement
    label: str
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cutoff(self) -> float:
        """Interaction radius, Angstrom."""
        return float(self.model.cutoff)  # pyright: ignore[reportArgumentType]

    @cached_property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that the model knows."""
        return tuple(self.model.elements)  # pyright: ignore[reportArgumentType]

    @cached_property
    def engine(self) -> nn.Module | AnalyticPotential | ReplayedPotential:
        """What computes: compiled loops on a CPU, replays on a GPU, or the model."""
        if type(self.model) is not Potential:
            return self.model
        if self.device.type == "cpu":
            return AnalyticPotential.build(self.model) or self.model
        return ReplayedPotential.build(self.model) or self.model

    @property
    def saved(self) -> bool:
        """Whether the label is enough to load the model again."""
        return not self.label.endswith(IN_MEMORY)

    @property
    def electric(self) -> tuple[str, ...]:
        """What there is of ``charges`` and ``dipole``, predicted and trained."""
        if not getattr(self.model.config, "dipole", False):
            return ()
        untrained = self.card.get("not_trained", ())
        return tuple(name for name in ("charges", "dipole") if name not in untrained)

    def __reduce__(self) -> tuple[Any, ...]:
        # Arrays, not tensors: these would travel to other processes as open files.
        weights = {k: v.cpu().numpy() for k, v in self.model.state_dict().items()}
        plan = (type(self.model), self.model.config, weights)
        return _rebuild, (plan, self.placement, self.label, self.card)


def load_member(model: ModelSpec, placement: Placement) -> Member:
    """Load a model, or copy a network, so that the caller's own is left as it is.

    Parameters
    ----------
    model : str, Path, nn.Module or None
        Name of a shipped model, file of a checkpoint, or a network of
        `equicalc.models`; None is the shipped default.
    placement : Placement
        Device, precision and kernels.

    Raises
    ------
    FileNotFoundError
        If there is no such name or file.
    ValueError
        If the file is not a whole checkpoint, or device or precision is unknown.
    TypeError
        If it is none of these, or a network without configuration to rebuild it from.
    """
    if isinstance(model, nn.Module):
        if not hasattr(model, "config"):
            raise TypeError(
                f"{type(model).__name__} is not a model of equicalc.models: it has no "
                "config, cutoff and elements"
            )
        plan = (type(model), model.config, model.state_dict())
        return _rebuild(plan, placement, f"<{type(model).__name__}{IN_MEMORY}")
    if not isinstance(model, (str, Path, type(None))):
        raise TypeError(
            f"the model is {model!r}: give a name, a file, a network of "
            "equicalc.models, or a list of these"
        )
    if str(model).endswith(IN_MEMORY):
        raise FileNotFoundError(
            f"{model} was a network that only its own process had: write it with "
            "equicalc.checkpoint.save_checkpoint and give the file"
        )
    registry = Registry.read()
    path = registry.weights_path(model)
    label = registry.full_name(model) or str(path.resolve())
    device, dtype = resolve_device(placement.device), resolve_dtype(placement.dtype)
    with torch.random.fork_rng(devices=[]):  # first weights are random
        network, card = load_checkpoint(path, device, dtype, placement.backend)
    if not isinstance(network, (Potential, Mace)):
        raise ValueError(
            f"{model} is a {type(network).__name__}, which has no energies of "
            "structures: name a potential"
        )
    return Member(network.requires_grad_(False), placement, label, card)


def resolve_dtype(dtype: str) -> torch.dtype:
    """Return the floating type of a name.

    Raises
    ------
    ValueError
        If it is neither float32 nor float64.

    Examples
    --------
    >>> resolve_dtype("float64")
    torch.float64
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    return DTYPES[dtype]


def _rebuild(
    plan: tuple[type[nn.Module], Any, Mapping[str, Any]],
    placement: Placement,
    label: str,
    card: Mapping[str, Any] | None = None,
) -> Member:
    """Build a network from its class, configuration and weights."""
    model_type, config, weights = plan
    device, dtype = resolve_device(placement.device), resolve_dtype(placement.dtype)
    with torch.random.fork_rng(devices=[]):  # first weights are random
        model = model_type(config, placement.backend)
    narrow = next(model.parameters()).dtype
    state = {k: torch.as_tensor(v) for k, v in weights.items()}
    # The model keeps some tensors wider than its weights (reference energies).
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dtype == narrow:
            tensor.data = tensor.data.to(dtype)
    model.load_state_dict(state)
    model.to(device).eval().requires_grad_(False)
    return Member(model, placement, label, card or {})
