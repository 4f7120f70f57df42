"""Cartesian tensors from vectors: what a rank asks for, and no more."""

import torch
from torch import Tensor, nn


class VectorOutput(nn.Module):
    """A mixture of vectors.

    Parameters
    ----------
    channels : int
        Of the scalars and vectors.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 1, bias=False)

    def forward(self, s: Tensor, v: Tensor) -> Tensor:
        """Map scalars (n, channels) and vectors (n, 3, channels) to (n, 3)."""
        return self.linear(v).squeeze(2)


class Rank2Output(nn.Module):
    """A symmetric matrix: sum_i s_i 1 + w_i (a_i b_i^T + b_i a_i^T) / 2.

    The weights w are a softmax of scalars; a and b are mixtures of the vectors.

    Parameters
    ----------
    channels : int
        Of the scalars and vectors.
    terms : int
        Products in the sum.

    References
    ----------
    .. [1] Kilgour, Rogal, Tuckerman, "Multi-type point cloud autoencoder" (2024),
       appendix: molecule properties.
    """

    def __init__(self, channels: int, terms: int) -> None:
        super().__init__()
        self.scalars = nn.Linear(channels, 2 * terms)
        self.vectors = nn.Linear(channels, 2 * terms, bias=False)

    def forward(self, s: Tensor, v: Tensor) -> Tensor:
        """Map scalars (n, channels) and vectors (n, 3, channels) to (n, 3, 3)."""
        trace, logits = self.scalars(s).chunk(2, 1)
        a, b = self.vectors(v).chunk(2, 2)  # (n, 3, terms)
        product = (a * logits.softmax(1).unsqueeze(1)) @ b.transpose(1, 2)
        one = torch.eye(3, dtype=v.dtype, device=v.device)
        symmetric = (product + product.transpose(1, 2)) / 2
        return symmetric + trace.sum(1)[:, None, None] * one


class Rank3Output(nn.Module):
    """A tensor that is the same under all permutations of its three indices.

    The mean over the permutations of sum_i w_i a_i b_i c_i + 1 d, where w is a softmax
    of scalars and a, b, c, d are mixtures of the vectors. It changes sign under
    inversion, as a first hyperpolarisability or an octupole does.

    Parameters
    ----------
    channels : int
        Of the scalars and vectors.
    terms : int
        Products in the sum.
    """

    PERMUTATIONS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))

    def __init__(self, channels: int, terms: int) -> None:
        super().__init__()
        self.scalars = nn.Linear(channels, terms)
        self.vectors = nn.Linear(channels, 3 * terms, bias=False)
        self.trace = nn.Linear(channels, 1, bias=False)

    def forward(self, s: Tensor, v: Tensor) -> Tensor:
        """Map scalars (n, channels) and vectors (n, 3, channels) to (n, 3, 3, 3)."""
        w = self.scalars(s).softmax(1).unsqueeze(1)
        a, b, c = self.vectors(v).chunk(3, 2)  # (n, 3, terms)
        one = torch.eye(3, dtype=v.dtype, device=v.device)
        product = torch.einsum("nxi,nyi,nzi->nxyz", w * a, b, c)
        product = product + one[None, :, :, None] * self.trace(v).view(-1, 1, 1, 3)
        turned = [
            product.permute(0, *(1 + axis for axis in axes))
            for axes in self.PERMUTATIONS
        ]
        return torch.stack(turned).mean(0)
