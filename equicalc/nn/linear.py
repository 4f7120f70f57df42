"""Equivariant linear maps in the component-major layout (n_nodes, sum 2l+1, channels).

Channels are last so that a degree's map is one matrix product over contiguous rows,
and so that kernels keep channels in vector lanes.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def degree_slices(ls: Sequence[int]) -> list[slice]:
    """Rows of every degree in the component axis.

    Examples
    --------
    >>> degree_slices([0, 1, 2])
    [slice(0, 1, None), slice(1, 4, None), slice(4, 9, None)]
    """
    slices, start = [], 0
    for l in ls:
        slices.append(slice(start, start + 2 * l + 1))
        start += 2 * l + 1
    return slices


class DegreeLinear(nn.Module):
    """One matrix per degree, shared by its 2l+1 components.

    Parameters
    ----------
    ls : sequence of int
        Degrees, in the order of the component axis.
    n_in, n_out : sequence of int
        Channels of every degree before and after; ``sum(n_in[i] * (2 l_i + 1))``
        numbers per node come in.
    """

    def __init__(
        self, ls: Sequence[int], n_in: Sequence[int], n_out: Sequence[int]
    ) -> None:
        super().__init__()
        self.ls, self.n_in = tuple(ls), tuple(n_in)
        self.weights = nn.ParameterList(
            torch.randn(a, b) / math.sqrt(a) for a, b in zip(n_in, n_out)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map flat features to one tensor (n_nodes, 2l+1, n_out) per degree.

        Parameters
        ----------
        x : Tensor
            (n_nodes, sum n_in (2l+1)); per degree, components before channels.
        """
        out, start = [], 0
        for l, n_in, weight in zip(self.ls, self.n_in, self.weights):
            stop = start + (2 * l + 1) * n_in
            rows = x[:, start:stop].unflatten(1, (2 * l + 1, n_in))
            out.append(rows @ weight)  # (n_nodes, 2l+1, n_out)
            start = stop
        return out
