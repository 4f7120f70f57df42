"""The fully connected convolution in plain e3nn, to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from equicalc import o3
from equicalc.kernels.convolution import Adjacency, UVWConvolution
from equicalc.nn.irreps import from_irreps, natural_irreps, to_irreps


class E3nnConvolution(nn.Module):
    """What `UVWConvolution` computes, by e3nn's fully connected tensor product.

    Weights are made for every edge, messages are stored and then summed. Arguments,
    inputs and output are those of `UVWConvolution`, so that either takes the same
    weights.

    Parameters
    ----------
    ls_in, ls_edge, ls_out : sequence of int
        Degrees of the features, of the harmonics, and of the output.
    channels_in, channels_out : int
        Channels of every degree.
    """

    def __init__(
        self,
        ls_in: Sequence[int],
        ls_edge: Sequence[int],
        ls_out: Sequence[int],
        channels_in: int,
        channels_out: int,
    ) -> None:
        super().__init__()
        own = UVWConvolution(ls_in, ls_edge, ls_out, channels_in, channels_out)
        self.n_weights, self.paths = own.n_weights, own.paths
        couplings = self.paths.couplings
        self.ls_in, self.ls_out = tuple(ls_in), tuple(ls_out)
        self.channels_in, self.channels_out = channels_in, channels_out
        from e3nn.o3 import FullyConnectedTensorProduct  # equicalc.o3 lets it load

        product = FullyConnectedTensorProduct(
            o3.Irreps(natural_irreps(ls_in, [channels_in] * len(ls_in))),
            o3.Irreps(natural_irreps(ls_edge, [1] * len(ls_edge))),
            o3.Irreps(natural_irreps(ls_out, [channels_out] * len(ls_out))),
            shared_weights=False,
        )
        self.order = [
            couplings.index((ls_in[i.i_in1], ls_edge[i.i_in2], ls_out[i.i_out]))
            for i in cast("list[Any]", product.instructions)
        ]
        # in a list, for its constants are no part of the state dict
        self._product = [product]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Take the constants along to another device or precision."""
        self._product[0]._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(
        self, x: Tensor, y: Tensor, hidden: Tensor, matrix: Tensor, adj: Adjacency
    ) -> Tensor:
        """Convolve, see `UVWConvolution.forward`."""
        shape = (-1, self.channels_in * self.channels_out)
        weights = (hidden @ matrix).unflatten(1, shape)[:, self.order].flatten(1)
        flat = to_irreps(x.split([2 * l + 1 for l in self.ls_in], 1))
        [product] = self._product
        messages = product(flat[adj.src], y, weights)
        out = messages.new_zeros(len(x), messages.shape[1])
        out = out.index_add(0, adj.dst, messages)
        channels = [self.channels_out] * len(self.ls_out)
        return torch.cat(from_irreps(out, self.ls_out, channels), 1)
