"""Radial bases of localised functions, and the choice of one by name."""

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from equicalc.nn.radial import BesselBasis

BasisName = Literal["cosine", "gaussian", "bessel"]


class CentredBasis(nn.Module, ABC):
    """Functions of the same shape at equal steps.

    Parameters
    ----------
    cutoff : float
        The last centre, Angstrom; the first one is 0.
    n_basis : int
        Number of functions, at least 2.

    Attributes
    ----------
    spacing : float
        Between the centres, Angstrom.
    reach : float
        Distance beyond which all functions count as zero, Angstrom.
    """

    centres: Tensor

    def __init__(self, cutoff: float, n_basis: int) -> None:
        super().__init__()
        self.spacing = cutoff / (n_basis - 1)
        self.reach = cutoff + self.width
        centres = torch.linspace(0, cutoff, n_basis)
        self.register_buffer("centres", centres, persistent=False)

    @property
    @abstractmethod
    def width(self) -> float:
        """How far a function goes from its centre, Angstrom."""

    @abstractmethod
    def forward(self, distance: Tensor) -> Tensor:
        """Expand distances, (n_edges,) in Angstrom, to (n_edges, n_basis)."""


class CosineBasis(CentredBasis):
    r"""Humps :math:`\cos^2(\pi (d - \mu) / 2 \delta)` a distance :math:`\delta` apart.

    Each is zero beyond its two neighbours; inside of the centres they add up to 1.

    Examples
    --------
    >>> CosineBasis(2.0, 3)(torch.tensor([0.0, 0.5, 2.0, 3.0])).round(decimals=2)
    tensor([[1.0000, 0.0000, 0.0000],
            [0.5000, 0.5000, 0.0000],
            [0.0000, 0.0000, 1.0000],
            [0.0000, 0.0000, 0.0000]])
    """

    @property
    def width(self) -> float:
        """The spacing."""
        return self.spacing

    def forward(self, distance: Tensor) -> Tensor:
        """Expand distances, (n_edges,) in Angstrom, to (n_edges, n_basis)."""
        x = (distance.unsqueeze(1) - self.centres) / self.spacing
        return torch.cos(0.5 * math.pi * x.clamp(-1, 1)).square()


class GaussianBasis(CentredBasis):
    r"""Gaussians :math:`\exp(-(d - \mu)^2 / \delta)`, a distance :math:`\delta` apart.

    Unlike `equicalc.nn.radial.EnvelopedGaussians` they do not end: beyond `reach` they
    are below 1e-4.
    """

    @property
    def width(self) -> float:
        """Where a Gaussian has fallen to 1e-4."""
        return math.sqrt(math.log(1e4) * self.spacing)  # spacing: Angstrom^2 here

    def forward(self, distance: Tensor) -> Tensor:
        """Expand distances, (n_edges,) in Angstrom, to (n_edges, n_basis)."""
        x = distance.unsqueeze(1) - self.centres
        return torch.exp(-x.square() / self.spacing)


def radial_basis(
    name: BasisName, cutoff: float, n_basis: int
) -> CosineBasis | GaussianBasis | BesselBasis:
    """Return a radial basis; its `reach` is how far edges have to go.

    Parameters
    ----------
    name
        ``"cosine"``, ``"gaussian"`` or ``"bessel"``.
    cutoff : float
        Last centre, or where the Bessel functions end, Angstrom.
    n_basis : int
        Number of functions.

    Raises
    ------
    ValueError
        For another name, or fewer than two functions with centres.

    Examples
    --------
    >>> radial_basis("bessel", 5.0, 8).reach
    5.0
    """
    if name == "bessel":
        return BesselBasis(cutoff, n_basis)
    if name not in ("cosine", "gaussian"):
        raise ValueError(
            f"unknown radial basis {name!r}; choose cosine, gaussian or bessel"
        )
    if n_basis < 2:
        raise ValueError(f"a {name} basis needs at least 2 functions, got {n_basis}")
    kind = CosineBasis if name == "cosine" else GaussianBasis
    return kind(cutoff, n_basis)
