"""Features by degree: e3nn's layout, and degrees that are switched off."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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


class DegreeSwitch(nn.Module):
    """Set the features of some degrees to zero, to see what a network does without.

    Parameters
    ----------
    ls : sequence of int
        Degrees of the features.

    Attributes
    ----------
    off : frozenset of int
        Degrees that are zero; none at first.

    Examples
    --------
    >>> switch = DegreeSwitch([0, 1])
    >>> switch.off = frozenset({1})
    >>> [bool(x.any()) for x in switch([torch.ones(1, 1, 2), torch.ones(1, 3, 2)])]
    [True, False]
    """

    def __init__(self, ls: Sequence[int]) -> None:
        super().__init__()
        self.ls = tuple(ls)
        self.off: frozenset[int] = frozenset()

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map one tensor for every degree."""
        return [
            torch.zeros_like(x) if l in self.off else x
            for l, x in zip(self.ls, features)
        ]
