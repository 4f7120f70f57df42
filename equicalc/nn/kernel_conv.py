"""The convolution of features with any number of channels for each degree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from torch import Tensor, nn

from equicalc.kernels.convolution import Adjacency
from equicalc.nn.radial import RadialFilter
from equicalc.nn.uvw_conv import UVWConv


class KernelConv(nn.Module):
    r"""Kernel and convolution in one step, no kernel being stored for any edge.

    .. math::
        G^{l'}_{u i A} = n^{l' l} \sum_{B \to A} \sum_{l\, l_f\, v}
        R^{l' l\, l_f}_{u v}(d_{AB}) \sum_{j k} C^{l' l\, l_f}_{i j k}
        Y^{l_f}_k(r_{AB}) F^{l}_{v j B}, \qquad
        (n^{l' l})^2 = \frac{4 \pi (2 l' + 1)}{\#v\, \#l_f\, \#l}

    with one radial perceptron for all weights R. The constants n give features of unit
    variance from features and weights of unit variance. Every pair of degrees is a
    re-associated convolution, see `UVWConv`.

    Parameters
    ----------
    channels_in, channels_out : sequence of int
        Channels of the degrees 0, 1, ...; a degree without any is left out, but counts
        in #l, so that others stay as they are when it is taken out.
    n_basis : int
        Radial basis functions.
    hidden : sequence of int
        Hidden widths of the radial perceptron.
    avg_neighbors : float
        Mean number of neighbours; sums are divided by its square root.
    chiral : bool
        Couple degrees with odd sums, too: the network can tell mirror images apart,
        and is equivariant under rotations only.

    References
    ----------
    .. [1] Thomas et al., "Tensor field networks", arXiv:1802.08219.

    Examples
    --------
    >>> conv = KernelConv([64, 21], [32, 7], 50, [128], avg_neighbors=17.0)
    >>> conv.ls_edge
    (0, 1, 2)
    """

    def __init__(
        self,
        channels_in: Sequence[int],
        channels_out: Sequence[int],
        n_basis: int,
        hidden: Sequence[int],
        avg_neighbors: float,
        chiral: bool = True,
    ) -> None:
        super().__init__()
        self.ls_in, ls_out = degrees_of(channels_in), degrees_of(channels_out)
        self.pairs = list(product(self.ls_in, ls_out))
        self.ls_edge = tuple(range(self.ls_in[-1] + ls_out[-1] + 1))
        self.scale = (avg_neighbors * len(channels_in)) ** -0.5
        convolutions = [
            UVWConv(
                (l,),
                tuple(range(abs(l - k), l + k + 1)),
                (k,),
                channels_in[l],
                channels_out[k],
                chiral,
            )
            for l, k in self.pairs
        ]
        self.convolutions = nn.ModuleList(convolutions)
        self.n_weights = [c.n_weights for c in convolutions]
        self.filters = RadialFilter(n_basis, hidden, sum(self.n_weights))

    def forward(
        self,
        features: Sequence[Tensor],
        harmonics: Tensor,
        basis: Tensor,
        adj: Adjacency,
    ) -> list[Tensor]:
        """Convolve.

        Parameters
        ----------
        features : sequence of Tensor
            (n_nodes, 2l+1, channels) of every degree that has channels.
        harmonics : Tensor
            (n_edges, (l+1)^2) of the degrees 0, 1, ..., at least those of `ls_edge`.
        basis : Tensor
            (n_edges, n_basis).
        adj : Adjacency
            The edges.

        Returns
        -------
        list of Tensor
            (n_nodes, 2l+1, channels) of every degree that has channels.
        """
        given = dict(zip(self.ls_in, features))
        hidden = self.filters.hidden(basis)
        matrices = self.filters.matrix.split(self.n_weights, 1)
        sums: dict[int, Tensor] = {}
        for (l, k), convolution, matrix in zip(self.pairs, self.convolutions, matrices):
            y = harmonics[:, (l - k) ** 2 : (l + k + 1) ** 2]
            out = convolution(given[l], y, hidden, matrix, adj)
            sums[k] = sums[k] + out if k in sums else out
        return [self.scale * total for total in sums.values()]


def degrees_of(channels: Sequence[int]) -> tuple[int, ...]:
    """Return the degrees that have channels, of those of the degrees 0, 1, ...

    Examples
    --------
    >>> degrees_of((64, 0, 8))
    (0, 2)
    """
    return tuple(l for l, n in enumerate(channels) if n)
