"""The convolution with radial weights from a table: inference without autograd."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .adjacency import Adjacency
from .cpp_weights import Weights
from .ops import library, run
from .paths import Paths
from .reference import uvu_reference
from .table import RadialTable

__all__ = ["TabulatedConvolution"]

TABULATED = Weights(tabulated=True)


@dataclass(frozen=True)
class TabulatedConvolution:
    """Convolve with weights ``table(distance)``, and go back, by hand.

    The compiled loop looks the weights up where it needs them; nothing per edge is
    stored but the results. Where it cannot be compiled, and on other devices, torch
    does the same in steps. Neither method is recorded by autograd.

    Attributes
    ----------
    paths : Paths
        Couplings, `UVUConvolution.paths`.
    table : RadialTable
        Weights (n_paths * channels) as functions of the distance.

    Examples
    --------
    >>> import torch
    >>> from equicalc.kernels.convolution import Adjacency, UVUConvolution
    >>> paths = UVUConvolution([0], [0, 1], [0, 1]).paths
    >>> def decay(r):
    ...     return torch.exp(-r).unsqueeze(1).expand(-1, 2 * 8)
    >>> table = RadialTable.build(decay, 0.5, 5.0, tolerance=1e-5)
    >>> convolution = TabulatedConvolution(paths, table)
    >>> adj = Adjacency.from_edges(torch.tensor([1, 0]), torch.tensor([0, 1]), 2)
    >>> x, y, r = torch.randn(2, 1, 8), torch.randn(2, 4), torch.tensor([1.0, 1.0])
    >>> out = convolution.forward(x, y, r, adj)
    >>> [t.shape[1:] for t in convolution.backward(out, x, y, r, adj)]
    [torch.Size([1, 8]), torch.Size([4]), torch.Size([])]
    """

    paths: Paths
    table: RadialTable

    @torch.no_grad()
    def forward(self, x: Tensor, y: Tensor, distance: Tensor, adj: Adjacency) -> Tensor:
        """Convolve, given as to `UVUConvolution.forward`.

        In place of weights there is ``distance``, (n_edges,): where to read the table.
        """
        if not self._compiled(x):
            w = self.table(distance)[0].unflatten(1, (-1, x.shape[2]))
            return uvu_reference(x, y, w, adj, self.paths)
        out = x.new_empty(len(x), self.paths.rows, x.shape[2])
        table = [distance, self.table.grid, self.table.coefficients]
        arrays = [x, *table, y, out]
        self._run("forward", arrays, [adj.dst_ptr, None, adj.src])
        return out

    @torch.no_grad()
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
        if not self._compiled(x):
            return self._backward_in_torch(grad_out, x, y, distance, adj)
        gx, gy, gr = (torch.empty_like(t) for t in (x, y, distance))
        table = [distance, self.table.grid, self.table.coefficients]
        arrays = [x, *table, y, grad_out, gx, gr, gy]
        self._run("backward", arrays, [adj.src_ptr, adj.src_order, adj.dst])
        return gx, gy, gr

    def _backward_in_torch(
        self, grad_out: Tensor, x: Tensor, y: Tensor, distance: Tensor, adj: Adjacency
    ) -> tuple[Tensor, Tensor, Tensor]:
        weights, slopes = self.table(distance)
        w = weights.unflatten(1, (-1, x.shape[2]))
        with torch.enable_grad():
            x, y, w = (t.detach().requires_grad_() for t in (x, y, w))
            out = uvu_reference(x, y, w, adj, self.paths)
        gx, gy, gw = torch.autograd.grad(out, (x, y, w), grad_out)
        return gx, gy, (gw.flatten(1) * slopes).sum(1)

    def _compiled(self, x: Tensor) -> bool:
        if x.device.type != "cpu":
            return False
        return library(self.paths, x.shape[2], x.dtype, TABULATED) is not None

    def _run(self, name: str, arrays: list[Tensor], order: list[Tensor | None]) -> None:
        contiguous = [a.contiguous() for a in arrays]
        run(name, self.paths, TABULATED, contiguous, order)
