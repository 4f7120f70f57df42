"""The fully connected convolution with weights from a perceptron, re-associated."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .adjacency import Adjacency
from .paths import Paths, coupling_tensor

__all__ = ["UVWConvolution"]

CHUNK_NUMBERS = 1 << 24  # in the largest intermediate result


class UVWConvolution(nn.Module):
    r"""Fully connected tensor product of features and harmonics, summed over the edges.

    .. math::
        \mathrm{out}_{i, m_3, w} = \sum_{j \to i}
        \sum_{p, k, u} h_{ij, k} M_{k, p, u, w} \sum_{m_1 m_2}
        C^{p}_{m_1 m_2 m_3} x_{j, m_1, u}\, Y_{m_2}(r_{ij})

    with hidden radial features h and the last matrix M of the radial perceptron:
    e3nn's ``FullyConnectedTensorProduct``, its normalisation included, with the weights
    h M. Those would be paths x channels^2 numbers for each edge. The sum over the edges
    comes first instead,

    .. math::
        A_{i, m_3, (k, p, u)} = \sum_{j \to i} h_{ij, k} (x_j \otimes Y)_{p, m_3, u},
        \qquad \mathrm{out} = A M,

    which is the same sum in another order. Nodes are worked through in chunks of
    bounded memory that are computed again in the backward pass. Plain torch: any
    device, any number of derivatives.

    Parameters
    ----------
    ls_in, ls_edge, ls_out : sequence of int
        Degrees of the features, of the harmonics, and of the output.
    channels_in, channels_out : int
        Channels of every degree.
    chiral : bool
        Take paths with odd l_in + l_edge + l_out, too: equivariant under rotations,
        not under inversion.

    References
    ----------
    .. [1] Thomas et al., "Tensor field networks", arXiv:1802.08219.
    .. [2] Lee et al., arXiv:2410.08131: the model whose convolution this is.

    Examples
    --------
    >>> convolution = UVWConvolution([0, 1], [0, 1], [0, 1], 8, 16)
    >>> adj = Adjacency.from_edges(torch.tensor([1, 0]), torch.tensor([0, 1]), 2)
    >>> x, y, hidden = torch.randn(2, 4, 8), torch.randn(2, 4), torch.randn(2, 20)
    >>> convolution(x, y, hidden, torch.randn(20, convolution.n_weights), adj).shape
    torch.Size([2, 4, 16])
    """

    def __init__(
        self,
        ls_in: Sequence[int],
        ls_edge: Sequence[int],
        ls_out: Sequence[int],
        channels_in: int,
        channels_out: int,
        chiral: bool = False,
    ) -> None:
        super().__init__()
        sides = ls_in, ls_edge, ls_out
        even = ([(l, 1) for l in ls] for ls in sides)  # parities that forbid nothing
        self.paths = Paths.between(*(even if chiral else sides))
        if any(len(set(ls)) < len(ls) for ls in sides):
            raise ValueError(f"a degree is there twice: {sides}; give it more channels")
        if 0 in self.paths.per_degree:
            rule = "" if chiral else " with even l1 + l2 + l3"
            raise ValueError(
                f"degrees {tuple(ls_in)} x {tuple(ls_edge)} do not lead to all of "
                f"{tuple(ls_out)}{rule}"
            )
        self.channels_in, self.channels_out = channels_in, channels_out

    @property
    def n_weights(self) -> int:
        """Columns of the matrix: (path, channel in, channel out), flattened."""
        return len(self.paths.couplings) * self.channels_in * self.channels_out

    def forward(
        self, x: Tensor, y: Tensor, hidden: Tensor, matrix: Tensor, adj: Adjacency
    ) -> Tensor:
        """Convolve.

        Parameters
        ----------
        x : Tensor
            (n_nodes, sum 2l_in+1, channels_in) node features.
        y : Tensor
            (n_edges, sum 2l_edge+1) harmonics of the edge vectors.
        hidden : Tensor
            (n_edges, n_hidden) radial features.
        matrix : Tensor
            (n_hidden, n_weights); the weights of an edge are ``hidden @ matrix``.
        adj : Adjacency
            The edges.

        Returns
        -------
        Tensor
            (n_nodes, sum 2l_out+1, channels_out).

        Raises
        ------
        ValueError
            If the arrays do not fit to each other.
        """
        sizes = len(matrix), self.n_weights
        weights = {"hidden": (hidden, (len(y), sizes[0])), "matrix": (matrix, sizes)}
        adj.check(self.paths, self.channels_in, x, y, **weights)
        shape = (-1, self.channels_in, self.channels_out)
        by_degree = matrix.unflatten(1, shape).split(self.paths.per_degree, 1)
        matrices = [m.flatten(0, 2) for m in by_degree]  # (hidden * paths * u, w) each
        n_out = sum(2 * l + 1 for l in self.paths.ls_out)
        if not len(y):
            return x.new_zeros(len(x), n_out, self.channels_out)
        # every node has as many places for edges as the one with most has edges
        places = torch.arange(int(adj.dst_ptr.diff().max()), device=x.device)
        slots = adj.dst_ptr[:-1, None] + places
        filled = slots < adj.dst_ptr[1:, None]  # (n_nodes, longest)
        slots = torch.where(filled, slots, 0)
        size = self.paths.rows * self.channels_in * max(len(matrix), len(places))
        step = max(1, CHUNK_NUMBERS // size)
        chunks = list(zip(slots.split(step), filled.split(step)))
        given = x, y, hidden, adj.src, *matrices
        if len(chunks) == 1:
            return self._chunk(*chunks[0], *given)
        run = functools.partial(checkpoint, self._chunk, use_reentrant=False)
        return torch.cat([run(*chunk, *given) for chunk in chunks])

    def _chunk(
        self,
        slots: Tensor,
        filled: Tensor,
        x: Tensor,
        y: Tensor,
        hidden: Tensor,
        src: Tensor,
        *matrices: Tensor,
    ) -> Tensor:
        """Convolve at some nodes, whose edges are at `slots` (n_nodes, longest)."""
        edges = slots.flatten()
        hidden = hidden.index_select(0, edges).view(*slots.shape, -1)
        weights = (hidden * filled.unsqueeze(2)).mT  # (n_nodes, hidden, longest)
        # 1. products of features and harmonics
        sent = x.index_select(0, src[edges])
        products = self._products(sent, y.index_select(0, edges))
        out = []
        for l, matrix in zip(self.paths.ls_out, matrices):
            together = torch.cat(products.pop(l), 2).unflatten(0, slots.shape)
            for z in together.unbind(2):  # (n_nodes, longest, paths * u)
                # 2. sum over the edges, for every hidden feature
                A = weights @ z  # (n_nodes, hidden, paths * u)
                # 3. the matrix
                out.append(A.flatten(1) @ matrix)  # (n_nodes, w)
        return torch.stack(out, 1)

    def _products(self, sent: Tensor, y: Tensor) -> dict[int, list[Tensor]]:
        """Return the product of every path, (n_edges, 2l+1, u), by its degree."""
        paths = self.paths
        xs = sent.split([2 * l + 1 for l in paths.ls_in], 1)
        ys = y.split([2 * l + 1 for l in paths.ls_edge], 1)
        products: dict[int, list[Tensor]] = {l: [] for l in paths.ls_out}
        for (l1, x1), (l2, y2) in itertools.product(
            zip(paths.ls_in, xs), zip(paths.ls_edge, ys)
        ):
            ls = [c for a, b, c in paths.couplings if (a, b) == (l1, l2)]
            if not ls:
                continue
            coupling = couplings_of_pair(paths, l1, l2).to(y) * self.channels_in**-0.5
            # a matrix for every edge, to all degrees
            B = (y2 @ coupling.flatten(1)).unflatten(1, (-1, 2 * l1 + 1))
            for l, product in zip(ls, (B @ x1).split([2 * l + 1 for l in ls], 1)):
                products[l].append(product)
        return products

    def extra_repr(self) -> str:
        """Show the degrees and channels."""
        paths, u, w = self.paths, self.channels_in, self.channels_out
        return f"{u} x {paths.ls_in} x {paths.ls_edge} -> {w} x {paths.ls_out}"


@functools.cache
def couplings_of_pair(paths: Paths, l1: int, l2: int) -> Tensor:
    """Coupling of two degrees to all others, float64, (2 l2 + 1, rows, 2 l1 + 1).

    Every path is divided by the square root of the number of paths to its degree.
    """
    n_paths = dict(zip(paths.ls_out, paths.per_degree))
    blocks = [
        coupling_tensor(l1, l2, l).permute(1, 2, 0) / math.sqrt(n_paths[l])
        for a, b, l in paths.couplings
        if (a, b) == (l1, l2)
    ]
    return torch.cat(blocks, 1)
