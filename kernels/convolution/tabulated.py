"""The convolution with radial weights from a table: inference without autograd."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from .adjacency import Adjacency
from .cpp_weights import Weights
from .ops import library, run_compiled
from .paths import Paths
from .table import RadialTable

__all__ = ["TabulatedConvolution"]

TABULATED = Weights(tabulated=True)


@dataclass(frozen=True)
class TabulatedConvolution:
    """Convolve with weights ``table(distance)``, and go back, by hand.

    The compiled loop looks the weights up where it needs them; nothing per edge is
    stored but the results. Neither method is seen by autograd.

    Attributes
    ----------
    paths : Paths
        Couplings, `UVUConvolution.paths`.
    table : RadialTable
        Weights (n_paths * channels) as functions of the distance.
    compiled : ctypes.CDLL
        The loops.

    Examples
    --------
    >>> import torch
    >>> from equicalc.kernels.convolution import Adjacency, UVUConvolution
    >>> paths = UVUConvolution([0], [0, 1], [0, 1]).paths
    >>> def decay(r):
    ...     return torch.exp(-r).unsqueeze(1).expand(-1, 2 * 8)
    >>> table = RadialTable.build(decay, 0.5, 5.0, tolerance=1e-5)
    >>> convolution = TabulatedConvolution.build(paths, table)
    >>> adj = Adjacency.from_edges(torch.tensor([1, 0]), torch.tensor([0, 1]), 2)
    >>> x, y, r = torch.randn(2, 1, 8), torch.randn(2, 4), torch.tensor([1.0, 1.0])
    >>> if convolution:  # there is a compiler
    ...     out = convolution.forward(x, y, r, adj)
    ...     gradients = convolution.backward(out, x, y, r, adj)
    """

    paths: Paths
    table: RadialTable
    compiled: ctypes.CDLL

    @classmethod
    def build(cls, paths: Paths, table: RadialTable) -> TabulatedConvolution | None:
        """Compile the loops; None where nothing can be compiled, and on a GPU.

        Raises
        ------
        ValueError
            If the table has not the same number of functions for every path.
        """
        coefficients = table.coefficients
        if coefficients.device.type != "cpu":
            return None
        functions, n_paths = coefficients.shape[2], len(paths.couplings)
        if functions % n_paths or not functions:
            raise ValueError(f"{n_paths} paths cannot share {functions} functions")
        compiled = library(paths, functions // n_paths, coefficients.dtype, TABULATED)
        return None if compiled is None else cls(paths, table, compiled)

    def forward(self, x: Tensor, y: Tensor, distance: Tensor, adj: Adjacency) -> Tensor:
        """Convolve, given as to `UVUConvolution.forward`, all contiguous.

        In place of weights there is ``distance``, (n_edges,): where to read the table.

        Raises
        ------
        ValueError
            If the arrays do not fit to each other or to the table; in `backward` too.
        """
        out = x.new_empty(len(x), self.paths.rows, x.shape[-1])
        self._check(out, x, y, distance, adj)
        arrays = x, distance, self.table.grid, self.table.coefficients, y, out
        run_compiled(self.compiled, "forward", arrays, (adj.dst_ptr, None, adj.src))
        return out

    def backward(
        self, grad_out: Tensor, x: Tensor, y: Tensor, distance: Tensor, adj: Adjacency
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of sum(grad_out * forward(x, y, distance)).

        Parameters
        ----------
        grad_out : Tensor
            (n_nodes, rows, channels).
        x, y, distance, adj
            As in `forward`.

        Returns
        -------
        tuple of Tensor
            With respect to x, y and distance, of the same shapes.
        """
        self._check(grad_out, x, y, distance, adj)
        gx, gy, gr = (torch.empty_like(t) for t in (x, y, distance))
        table = self.table.grid, self.table.coefficients
        arrays = x, distance, *table, y, grad_out, gx, gr, gy
        order = adj.src_ptr, adj.src_order, adj.dst
        run_compiled(self.compiled, "backward", arrays, order)
        return gx, gy, gr

    def _check(
        self, out: Tensor, x: Tensor, y: Tensor, distance: Tensor, adj: Adjacency
    ) -> None:
        table = self.table.coefficients
        channels = table.shape[2] // len(self.paths.couplings)
        others = {"distance": (distance, adj.src.shape), "table": (table, table.shape)}
        size = len(x), self.paths.rows, channels
        adj.check(self.paths, channels, x, y, output=(out, size), **others)
