"""Save and load models as safetensors: tensors and a JSON header, no pickle.

The header holds what is needed to rebuild the model (its name and configuration),
a card for people (level of theory, elements, units, training data, licence, errors)
and a checksum of the tensors. The tensors are independent of the kernel backend.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from equicalc.data.damage import naming
from equicalc.header import FORMAT, opened, parsed_header
from equicalc.models import MODELS, build_model

UNITS = {"length": "Angstrom", "energy": "eV", "charge": "e"}


def save_checkpoint(
    path: str | Path,
    model: torch.nn.Module,
    card: dict[str, Any],
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a model and its card to one file, atomically.

    Parameters
    ----------
    path
        The file to write; an existing one is replaced only when the new one is whole.
    model
        One of the registered models (`equicalc.models.MODELS`).
    card
        What a user should know: level of theory, training data, licence, metrics,
        command, limits. Elements, cutoff and units are filled in from the model.
    dtype
        Precision of the file, that of the model if None: float16 halves the size of a
        network that tolerates it.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ValueError
        If the model is not registered, holds a non-finite number, or the card
        cannot be written as JSON.
    """
    path = Path(path)
    tensors = {
        name: tensor.detach()
        .to("cpu", dtype if tensor.is_floating_point() else None)
        .contiguous()
        for name, tensor in model.state_dict().items()
    }
    _check_finite(tensors, path)
    header = {
        "format": FORMAT,
        "model": {"name": _registered_name(model), "config": _config_dict(model)},
        "card": _complete_card(card, model),
        "sha256": checksum(tensors),
    }
    try:
        metadata = {key: json.dumps(value) for key, value in header.items()}
    except TypeError as error:
        raise ValueError(
            f"the card of {path} is not JSON: {error}; use str, int, float, list, dict"
        ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        save_file(tensors, temporary, metadata=metadata)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def load_checkpoint(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    backend: str = "auto",
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Rebuild the model of a file written by `save_checkpoint`.

    Parameters
    ----------
    path
        The safetensors file.
    device
        Where the model goes.
    dtype
        Precision of the weights.
    backend
        Kernel backend; the weights do not depend on it.

    Returns
    -------
    model, card
        The model in evaluation mode, and its card.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, corrupt, foreign, or of another model than it says.
    """
    path = Path(path)
    with opened(path, "pt") as file, naming(path):
        header = parsed_header(file.metadata(), path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name, config = header["model"]["name"], header["model"]["config"]
    if name not in MODELS:
        raise ValueError(
            f"{path} holds a model {name!r}; this version knows {sorted(MODELS)}: "
            "update equicalc"
        )
    if checksum(tensors) != header["sha256"]:
        raise ValueError(
            f"{path}: the tensors do not match their sha256; the file was damaged or "
            "edited: download or copy it again"
        )
    with naming(path, f"holds a model {name!r} of another version of equicalc"):
        _check_sizes(config, sum(tensor.numel() for tensor in tensors.values()))
        model = build_model(name, config, backend=backend)
        model.load_state_dict(tensors)
    return model.to(device=device, dtype=dtype).eval(), header["card"]


def checksum(tensors: dict[str, torch.Tensor]) -> str:
    """Return the sha256 of named tensors: names, types, shapes and bytes, sorted.

    Examples
    --------
    >>> checksum({"a": torch.zeros(2)}) == checksum({"a": torch.zeros(2)})
    True
    >>> checksum({"a": torch.zeros(2)}) == checksum({"a": torch.ones(2)})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_sizes(config: Any, n_numbers: int) -> None:
    """Refuse a configuration that asks for more than the file's tensors can fill."""
    if isinstance(config, dict | list):
        for part in config.values() if isinstance(config, dict) else config:
            _check_sizes(part, n_numbers)
    elif isinstance(config, int) and config > max(n_numbers, 1000):
        raise ValueError(f"a size of {config}, but only {n_numbers} numbers")


def _registered_name(model: torch.nn.Module) -> str:
    for name, (_, model_class) in MODELS.items():
        if type(model) is model_class:
            return name
    raise ValueError(
        f"{type(model).__name__} is not a registered model; known: {sorted(MODELS)}"
    )


def _config_dict(model: torch.nn.Module) -> dict[str, Any]:
    return dataclasses.asdict(model.config)  # pyright: ignore[reportArgumentType]


def _complete_card(card: dict[str, Any], model: torch.nn.Module) -> dict[str, Any]:
    """Add what the model itself knows to the card."""
    known: dict[str, Any] = {"elements": list(model.elements)}  # pyright: ignore[reportArgumentType]
    if hasattr(model, "cutoff"):  # not of what reads numbers only
        known["cutoff"] = model.cutoff
    return {**card, **known, "units": UNITS}


def _check_finite(tensors: dict[str, torch.Tensor], path: Path) -> None:
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        raise ValueError(
            f"{path} not written: {bad[0]} holds NaN or infinity (training diverged?)"
        )
