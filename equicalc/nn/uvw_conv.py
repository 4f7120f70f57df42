"""The fully connected convolution, compiled where that is possible."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from equicalc.kernels.convolution import Adjacency, UVWConvolution
from equicalc.nn import uvw_loops

__all__ = ["UVWConv"]


class UVWConv(UVWConvolution):
    """`UVWConvolution` in compiled loops, if all of this holds; else in torch.

    - The tensors are on the CPU, and all of single or all of double precision.
    - There is a compiler, and the numbers of channels are multiples of 4.
    - No gradient of the harmonics is wanted: energies are trained on, not forces.

    Derivatives of gradients are those of torch.

    Examples
    --------
    >>> convolution = UVWConv([0, 3], [0, 3], [0, 3], 8, 8)
    >>> adj = Adjacency.from_edges(torch.tensor([1, 0]), torch.tensor([0, 1]), 2)
    >>> x, y, hidden = torch.randn(2, 8, 8), torch.randn(2, 8), torch.randn(2, 20)
    >>> convolution(x, y, hidden, torch.randn(20, convolution.n_weights), adj).shape
    torch.Size([2, 8, 8])
    """

    def forward(
        self, x: Tensor, y: Tensor, hidden: Tensor, matrix: Tensor, adj: Adjacency
    ) -> Tensor:
        """Convolve, see `UVWConvolution.forward`."""
        if self._is_compiled(x, y, hidden, matrix, adj):
            return _convolve(self, adj, x, y, hidden, matrix)  # pyright: ignore[reportCallIssue]
        return super().forward(x, y, hidden, matrix, adj)

    def _is_compiled(
        self, x: Tensor, y: Tensor, hidden: Tensor, matrix: Tensor, adj: Adjacency
    ) -> bool:
        """Whether the loops can do it; arrays of wrong shapes are left to torch."""
        n_nodes, n_edges, n_hidden = len(adj.dst_ptr) - 1, len(adj.src), len(matrix)
        shapes = (
            (n_nodes, self.paths.n_in, self.channels_in),
            (n_edges, self.paths.n_edge),
            (n_edges, n_hidden),
            (n_hidden, self.n_weights),
        )
        given = x, y, hidden, matrix
        return (
            n_edges > 0
            and not (torch.is_grad_enabled() and y.requires_grad)
            and all(t.device.type == "cpu" and t.dtype == x.dtype for t in given)
            and all(t.shape == shape for t, shape in zip(given, shapes))
            and uvw_loops.library(self.channels_in, self.channels_out, x.dtype)
            is not None
        )


class _Compiled(torch.autograd.Function):
    """The loops, and torch for derivatives of the gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        module: UVWConvolution,
        adj: Adjacency,
        x: Tensor,
        y: Tensor,
        hidden: Tensor,
        matrix: Tensor,
    ) -> Tensor:
        ctx.module, ctx.adj = module, adj
        ctx.save_for_backward(x, y, hidden, matrix)
        return uvw_loops.convolve(module.paths, x, y, hidden, matrix, adj)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, g: Tensor
    ) -> tuple[Tensor | None, ...]:
        module, adj = ctx.module, ctx.adj
        x, y, hidden, matrix = inputs = ctx.saved_tensors
        if not torch.is_grad_enabled():
            found = uvw_loops.gradients(module.paths, x, y, hidden, matrix, adj, g)
            return None, None, found.x, None, found.hidden, found.matrix
        out = UVWConvolution.forward(module, x, y, hidden, matrix, adj)
        wanted = [t for t in inputs if t.requires_grad]
        given = iter(torch.autograd.grad(out, wanted, g, create_graph=True))
        return None, None, *(next(given) if t.requires_grad else None for t in inputs)


@torch.compiler.disable  # it calls compiled loops, which cannot be traced
def _convolve(*given: Any) -> Tensor:
    return cast(Tensor, _Compiled.apply(*given))
