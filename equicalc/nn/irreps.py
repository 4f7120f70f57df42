"""Features by degree, and e3nn's layout of them."""

from collections.abc import Sequence

import torch
from torch import Tensor


def natural_irreps(ls: Sequence[int], channels: Sequence[int]) -> str:
    """Name features whose degrees have the parity (-1)^l of spherical harmonics.

    Examples
    --------
    >>> natural_irreps([0, 1], [64, 21])
    '64x0e + 21x1o'
    """
    return " + ".join(f"{n}x{l}{'eo'[l % 2]}" for l, n in zip(ls, channels))


def to_irreps(features: Sequence[Tensor]) -> Tensor:
    """Lay features out as e3nn does: channels first, in them the components.

    Parameters
    ----------
    features : sequence of Tensor
        (n_nodes, 2l+1, channels) of every degree.

    Returns
    -------
    Tensor
        (n_nodes, sum channels (2l+1)).
    """
    return torch.cat([x.mT.flatten(1) for x in features], 1)


def from_irreps(
    x: Tensor, ls: Sequence[int], channels: Sequence[int]
) -> tuple[Tensor, ...]:
    """Take e3nn's layout apart: the reverse of `to_irreps`.

    Examples
    --------
    >>> x = torch.arange(8.0).view(1, 8)
    >>> torch.equal(to_irreps(from_irreps(x, [0, 1], [2, 2])), x)
    True
    """
    blocks = x.split([n * (2 * l + 1) for l, n in zip(ls, channels)], 1)
    return tuple(b.unflatten(1, (n, -1)).mT for b, n in zip(blocks, channels))
