"""Accelerate a MACE or NequIP model in place, and undo it."""

from __future__ import annotations

import logging

from torch import nn

from .blocks import FINDERS, Override

__all__ = ["patch", "unpatch"]

logger = logging.getLogger(__name__)

OVERRIDES = "_equicalc_overrides"  # attribute of a patched model


def patch(model: nn.Module, backend: str = "auto") -> list[str]:
    """Let a MACE or NequIP model compute with the kernels of this package.

    Its spherical harmonics are replaced, and in every interaction block the tensor
    product together with the sum over edges. Parameters and state dict stay as they
    are; energies, forces, stress and the gradients of a training step agree with the
    original's to rounding. A copy of a patched model is patched, and so is one that
    was pickled; to read that, equicalc must be installed.

    Parameters
    ----------
    model : nn.Module
        An instance from mace-torch 0.3.14 or newer, or from nequip 0.5 to 0.19, not
        compiled. If it is patched already, that is undone first.
    backend : str
        Kernels, see `SphericalHarmonics` and `UVUConvolution`.

    Returns
    -------
    list of str
        Names of the modules that now compute differently.

    Raises
    ------
    ValueError
        If there is nothing to replace; it says why.

    See Also
    --------
    unpatch : Restore the model.

    Examples
    --------
    >>> from equicalc import o3
    >>> model = nn.Sequential(o3.SphericalHarmonics([0, 1, 2], normalize=True))
    >>> patch(model)
    ['0']
    >>> unpatch(model)
    """
    unpatch(model)
    overrides: list[Override] = []
    names: list[str] = []
    refused: list[str] = []
    for name, module in model.named_modules():
        for find in FINDERS:
            try:
                found = list(find(module, backend))
            except ValueError as error:
                refused.append(f"{name}: {error}")
                continue
            if found:
                overrides += found
                names.append(name)
    if not overrides:
        raise ValueError(_nothing_found(model, refused))
    for override in overrides:
        setattr(override.module, override.name, override.value)
    setattr(model, OVERRIDES, overrides)
    logger.info("patched %s", ", ".join(names))
    for line in refused:
        logger.warning("left as it is, %s", line)
    return names


def unpatch(model: nn.Module) -> None:
    """Restore a model to what it was before `patch`.

    Parameters
    ----------
    model : nn.Module
        One that is not patched stays as it is.
    """
    overrides: list[Override] = model.__dict__.pop(OVERRIDES, [])
    for override in overrides:
        delattr(override.module, override.name)


def _nothing_found(model: nn.Module, refused: list[str]) -> str:
    if refused:
        reasons = "; ".join(refused)
        return f"nothing of this {type(model).__name__} can be patched: {reasons}"
    return (
        f"this {type(model).__name__} has neither spherical harmonics nor interaction "
        "blocks of e3nn: give a MACE or NequIP model that was not compiled to "
        "TorchScript and does not use cuEquivariance"
    )
