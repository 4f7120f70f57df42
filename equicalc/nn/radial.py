"""Radial functions: Bessel basis, smooth envelope and the filters made from them."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def polynomial_envelope(x: Tensor, p: int = 6) -> Tensor:
    """Go from 1 at x = 0 to 0 at x = 1 with zero slope and curvature there.

    Parameters
    ----------
    x : Tensor
        Distance divided by the cutoff, any shape, dimensionless.
    p : int
        Exponent; larger values stay near 1 for longer.

    Returns
    -------
    Tensor
        Shape of `x`; exactly zero for ``x >= 1``.

    References
    ----------
    .. [1] Gasteiger, Groß, Günnemann, "Directional message passing for molecular
       graphs", ICLR 2020, eq. 8.

    Examples
    --------
    >>> polynomial_envelope(torch.tensor([0.0, 0.5, 1.0, 2.0]))
    tensor([1.0000, 0.8555, 0.0000, 0.0000])
    """
    x = x.clamp(max=1.0)
    a, b, c = 0.5 * (p + 1) * (p + 2), p * (p + 2), 0.5 * p * (p + 1)
    return 1.0 + x**p * (x * (b - c * x) - a)


class BesselBasis(nn.Module):
    """Spherical Bessel functions of order zero, sin(n pi d / c) / d, under an envelope.

    Parameters
    ----------
    cutoff : float
        Distance c beyond which everything is zero, Angstrom.
    n_basis : int
        Number of functions.

    Attributes
    ----------
    reach : float
        The cutoff, under the name that other bases have for it.

    References
    ----------
    .. [1] Gasteiger, Groß, Günnemann, ICLR 2020, eq. 7.

    Examples
    --------
    >>> BesselBasis(cutoff=5.0, n_basis=8)(torch.tensor([1.0, 4.0, 5.0])).shape
    torch.Size([3, 8])
    """

    frequencies: Tensor

    def __init__(self, cutoff: float, n_basis: int) -> None:
        super().__init__()
        self.cutoff = self.reach = cutoff
        frequencies = torch.arange(1, n_basis + 1) * math.pi / cutoff
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, distance: Tensor) -> Tensor:
        """Expand distances, (n_edges,) in Angstrom, to (n_edges, n_basis)."""
        d = distance.unsqueeze(-1)  # (n_edges, 1)
        waves = torch.sin(self.frequencies * d) / d  # (n_edges, n_basis)
        return math.sqrt(2 * self.cutoff) * waves * polynomial_envelope(d / self.cutoff)

    def first(self, distance: Tensor) -> Tensor:
        """Evaluate the longest wave only, (n_edges,)."""
        wave = torch.sin(self.frequencies[0] * distance) / distance
        envelope = polynomial_envelope(distance / self.cutoff)
        return math.sqrt(2 * self.cutoff) * wave * envelope


class RadialFilter(nn.Module):
    """A perceptron without biases from the radial basis to one weight per filter.

    Without biases and with SiLU (which maps zero to zero) the filters inherit the
    envelope of the basis: they vanish smoothly at the cutoff.

    Parameters
    ----------
    n_basis : int
        Radial basis functions.
    hidden : sequence of int
        Widths of hidden layers; empty for filters linear in the basis.
    n_filters : int
        Filters, (path, channel) flattened.
    """

    def __init__(self, n_basis: int, hidden: Sequence[int], n_filters: int) -> None:
        super().__init__()
        widths = [n_basis, *hidden, n_filters]
        self.weights = nn.ParameterList(
            torch.randn(a, b) / math.sqrt(a) for a, b in pairwise(widths)
        )

    def hidden(self, basis: Tensor) -> Tensor:
        """Map (n_edges, n_basis) to the last hidden layer, or to the basis itself."""
        for weight in self.weights[:-1]:
            basis = nn.functional.silu(basis @ weight)
        return basis

    @property
    def matrix(self) -> Tensor:
        """The last layer, (n_hidden, n_filters): filters are ``hidden @ matrix``."""
        return self.weights[-1]

    def forward(self, basis: Tensor) -> Tensor:
        """Map (n_edges, n_basis) to (n_edges, n_filters)."""
        return self.hidden(basis) @ self.matrix


class EnvelopedGaussians(nn.Module):
    """Gaussians at equal steps of the distance, under an envelope.

    Parameters
    ----------
    cutoff : float
        Distance beyond which everything is zero, Angstrom.
    n_basis : int
        Number of functions, at least 2.

    Examples
    --------
    >>> EnvelopedGaussians(cutoff=3.0, n_basis=50)(torch.tensor([1.0, 3.0])).shape
    torch.Size([2, 50])
    """

    #: Least exponent: denormal numbers, which are slow, never come up.
    FLOOR = -40.0

    centres: Tensor

    def __init__(self, cutoff: float, n_basis: int) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.step = cutoff / (n_basis - 1)
        centres = torch.linspace(0.0, cutoff, n_basis)
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, distance: Tensor) -> Tensor:
        """Expand distances, (n_edges,) in Angstrom, to (n_edges, n_basis)."""
        d = distance.unsqueeze(-1)  # (n_edges, 1)
        exponent = -0.5 * ((d - self.centres) / self.step).square()
        bells = torch.exp(exponent.clamp(min=self.FLOOR))
        return bells * polynomial_envelope(d / self.cutoff)
