"""Where a network runs."""

from __future__ import annotations

import torch


def resolve_device(device: str) -> torch.device:
    """Return the device of a name; ``"auto"`` is a GPU where there is one.

    Raises
    ------
    ValueError
        If there is no such device on this machine.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device {device!r} is not known: give 'auto', 'cpu', 'cuda' or 'cuda:0'"
        ) from error
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(
            f"device {device!r} is not supported: give 'auto', 'cpu' or 'cuda:0'"
        )
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {device!r} is not on this machine, which has "
            f"{torch.cuda.device_count()} CUDA devices: give 'auto' or 'cpu'"
        )
    return resolved
