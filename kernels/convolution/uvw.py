"""The fully connected convolution with weights from a perceptron, re-associated."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .adjacency import Adjacency
from .paths import Paths, coupling_tensor

__all__ = ["UVWConvolution"]

CHUNK_NUMBERS = 1 << 19  # in the largest intermediate result


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
        self.paths = Paths(tuple(ls_in), tuple(ls_edge), tuple(ls_out), chiral)
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
        """
        shape = (len(matrix), -1, self.channels_in, self.channels_out)
        by_degree = matrix.view(shape).split(self.paths.per_degree, 1)
        matrices = [m.flatten(0, 2) for m in by_degree]  # (hidden * paths * u, w) each
        longest = int(adj.dst_ptr.diff().max())
        size = self.paths.rows * self.channels_in * max(len(matrix), longest)
        step = max(1, CHUNK_NUMBERS // size)
        bounds = [*range(0, len(x), step), len(x)]
        ends = adj.dst_ptr[bounds].tolist()
        counts = [b - a for a, b in pairwise(ends)]
        chunks = zip(*(t.split(counts) for t in (x[adj.src], y, hidden)))
        out = []
        for (start, stop), edges in zip(pairwise(bounds), chunks):
            pointer = adj.dst_ptr[start : stop + 1] - adj.dst_ptr[start]
            slots = pointer[:-1, None] + torch.arange(longest, device=x.device)
            filled = slots < pointer[1:, None]  # (n_nodes, longest)
            arguments = *edges, torch.where(filled, slots, 0), filled, *matrices
            if not len(edges[0]):
                n_out = sum(2 * l + 1 for l in self.paths.ls_out)
                out.append(x.new_zeros(stop - start, n_out, self.channels_out))
            elif len(counts) == 1:
                out.append(self._chunk(*arguments))
            else:
                out.append(checkpoint(self._chunk, *arguments, use_reentrant=False))
        return torch.cat(out)

    def _chunk(
        self,
        sent: Tensor,
        y: Tensor,
        hidden: Tensor,
        slots: Tensor,
        filled: Tensor,
        *matrices: Tensor,
    ) -> Tensor:
        """Convolve at some nodes, whose edges are at `slots` (n_nodes, longest)."""
        paths = self.paths
        # 1. products of features and harmonics, a matrix for every edge
        coupling = couplings_together(paths).to(y) * self.channels_in**-0.5
        B = (y @ coupling.flatten(1)).unflatten(1, coupling.shape[1:])
        products = (B @ sent)[slots]  # (n_nodes, longest, rows, u)
        weights = (hidden[slots] * filled.unsqueeze(2)).mT.unsqueeze(1)
        out = []
        sizes = [(2 * l + 1) * n for l, n in zip(paths.ls_out, paths.per_degree)]
        for l, z, matrix in zip(paths.ls_out, products.split(sizes, 2), matrices):
            # 2. sum over the edges, for every hidden feature
            z = z.unflatten(2, (2 * l + 1, -1)).flatten(3).transpose(1, 2)
            A = weights @ z  # (n_nodes, 2l+1, hidden, paths * u)
            # 3. the matrix
            out.append(A.flatten(2) @ matrix)  # (n_nodes, 2l+1, w)
        return torch.cat(out, 1)

    def extra_repr(self) -> str:
        """Show the degrees and channels."""
        p = self.paths
        return (
            f"{self.channels_in} x {p.ls_in} x {p.ls_edge} -> "
            f"{self.channels_out} x {p.ls_out}"
        )


@functools.cache
def couplings_together(paths: Paths) -> Tensor:
    """All paths in one tensor, float64, (sum 2l_edge+1, rows, sum 2l_in+1).

    Every path is divided by the square root of the number of paths to its degree.
    """
    n_x, n_y = (sum(2 * l + 1 for l in ls) for ls in (paths.ls_in, paths.ls_edge))
    together = torch.zeros(n_y, paths.rows, n_x, dtype=torch.float64)
    n_paths = dict(zip(paths.ls_out, paths.per_degree))
    for (l1, l2, l3), rows in zip(paths.couplings, paths.row_of):
        start1, start2 = paths.offset(paths.ls_in, l1), paths.offset(paths.ls_edge, l2)
        C = coupling_tensor(l1, l2, l3) / math.sqrt(n_paths[l3])
        for row, block in zip(rows, C.unbind(2)):
            stop1, stop2 = start1 + 2 * l1 + 1, start2 + 2 * l2 + 1
            together[start2:stop2, row, start1:stop1] = block.T
    return together
