"""Normalisation of equivariant features."""

import torch
from torch import Tensor, nn


class EquivariantNorm(nn.Module):
    """Scale the features of every node to a root mean square of 1, then by channel.

    Components of all degrees are counted together: a degree that is absent, as the
    vectors of an atom alone, stays absent.

    Parameters
    ----------
    channels : int
        Channels of every degree.

    Examples
    --------
    >>> norm = EquivariantNorm(2)
    >>> round(norm(torch.tensor([[[3.0, 4.0]]])).square().mean().item(), 3)
    1.0
    """

    EPSILON = 1e-6

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (n_nodes, sum 2l+1, channels)."""
        mean_square = x.square().mean((1, 2), keepdim=True)
        return x * torch.rsqrt(mean_square + self.EPSILON) * self.scale
