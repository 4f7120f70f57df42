"""The convolution as a module."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equicalc.kernels import jit

from .adjacency import Adjacency
from .ops import format_paths, has_library, uvu
from .paths import Degree, Paths
from .reference import uvu_reference

__all__ = ["UVUConvolution"]

BACKENDS = ("auto", "cpp", "torch", "triton")

# A double backward pass makes the weights five times over: beyond this many hidden
# features reading stored ones is faster.
MAX_HIDDEN_IN_TRAINING = 32


class UVUConvolution(nn.Module):
    r"""Tensor product of node features and edge harmonics, summed over the edges.

    .. math::
        \mathrm{out}_{i, p, m_3, c} = \sum_{j \to i} w_{ij, p, c}
        \sum_{m_1 m_2} C^{p}_{m_1 m_2 m_3} x_{j, m_1, c}\, Y_{m_2}(r_{ij})

    for every path p = (l1, l2, l3), all channels c on their own ("uvu"). No parameters:
    the weights come in, usually from a radial function. Messages are never stored.

    Parameters
    ----------
    ls_in, ls_edge, ls_out : sequence of int or of (int, int)
        Degrees of the features, of the harmonics, and of the output. A degree l has the
        parity (-1)^l of harmonics; a pair (l, parity), such as ``o3.Irrep("1e")``, is
        for features of both parities, or of one only.
    backend : str
        ``"torch"`` computes path by path. All others take a fused loop, where there is
        one: Triton for CUDA tensors unless ``"cpp"`` is asked for, C++ for CPU tensors
        where a compiler is found.

    References
    ----------
    .. [1] Thomas et al., "Tensor field networks", arXiv:1802.08219.
    .. [2] Batzner et al., Nat. Commun. 13, 2453 (2022).

    Examples
    --------
    >>> import torch
    >>> convolution = UVUConvolution([0, 1], [0, 1], [0, 1])
    >>> adj = Adjacency.from_edges(torch.tensor([1, 0]), torch.tensor([0, 1]), 2)
    >>> x, y, w = torch.randn(2, 4, 8), torch.randn(2, 4), torch.randn(2, 4, 8)
    >>> convolution(x, y, w, adj).shape
    torch.Size([2, 8, 8])
    """

    def __init__(
        self,
        ls_in: Sequence[Degree],
        ls_edge: Sequence[Degree],
        ls_out: Sequence[Degree],
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if backend not in BACKENDS:
            raise ValueError(f"unknown backend {backend!r}; choose from {BACKENDS}")
        self.paths = Paths.between(ls_in, ls_edge, ls_out)
        self._text = format_paths(self.paths)
        if not self.paths.couplings:
            raise ValueError(f"no path couples {self._shown()}: give other degrees")
        self.backend = backend

    @property
    def n_paths(self) -> int:
        """Number of paths, weights per edge and channel."""
        return len(self.paths.couplings)

    @property
    def paths_per_degree(self) -> tuple[int, ...]:
        """Number of paths to every degree of the output."""
        return self.paths.per_degree

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        w: Tensor,
        adj: Adjacency,
        matrix: Tensor | None = None,
    ) -> Tensor:
        """Convolve.

        Parameters
        ----------
        x : Tensor
            (n_nodes, sum 2l_in+1, channels) node features.
        y : Tensor
            (n_edges, sum 2l_edge+1) harmonics of the edge vectors.
        w : Tensor
            (n_edges, n_paths, channels) weights; with `matrix`, (n_edges, hidden).
        adj : Adjacency
            The edges.
        matrix : Tensor, optional
            (hidden, n_paths * channels). The weights are then ``w @ matrix``. The
            compiled loop makes them where it needs them and stores nothing per edge
            and path, neither here nor in the derivatives (a trainable matrix of more
            than 32 rows excepted, with which that would take longer).

        Returns
        -------
        Tensor
            (n_nodes, rows, channels); per degree of the output its components, in
            them the paths.

        Raises
        ------
        ValueError
            If the arrays do not fit to each other.
        """
        n_edges, columns = adj.src.shape[0], (self.n_paths, x.shape[-1])
        given = {"w": (w, (n_edges, *columns))}
        if matrix is not None:
            shape = matrix.shape[0], math.prod(columns)
            given = {"w": (w, (n_edges, shape[0])), "matrix": (matrix, shape)}
        adj.check(self.paths, x.shape[-1], x, y, **given)
        if matrix is not None and not self._mixes(x, matrix):
            w = (w @ matrix).unflatten(1, columns)
            matrix = None
        hidden = 0 if matrix is None else len(matrix)
        if self._compiled(x, hidden):
            return uvu(x, y, w, matrix, list(adj.tensors()), self._text)
        return uvu_reference(x, y, w, adj, self.paths)

    def _mixes(self, x: Tensor, matrix: Tensor) -> bool:
        """Whether the loop makes the weights: it can, and has not to too many times."""
        training = torch.is_grad_enabled() and matrix.requires_grad
        if training and len(matrix) > MAX_HIDDEN_IN_TRAINING:
            return False
        return len(matrix) > 0 and self._compiled(x, len(matrix))

    def _compiled(self, x: Tensor, hidden: int) -> bool:
        devices = () if self.backend == "torch" else ("cpu", "cuda")
        if x.device.type not in devices or not x.shape[2]:
            return False
        if x.is_cuda:  # Triton takes the weights of every edge
            return self.backend != "cpp" and not hidden and jit.available()
        return has_library(self._text, x.shape[2], x.dtype, hidden)

    def extra_repr(self) -> str:
        """Show the features."""
        return f"{self._shown()}, {self.n_paths} paths"

    def _shown(self) -> str:
        return "{} x {} -> {}".format(*self._text.split("|"))
