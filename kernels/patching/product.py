"""e3nn's tensor product over edges and the sum after it, as one fused convolution."""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from equicalc import o3
from equicalc.kernels.convolution import Adjacency, UVUConvolution

__all__ = ["FusedProduct"]


class _Product(Protocol):
    """What is read of `o3.TensorProduct`, whose decorator hides its type."""

    irreps_in1: o3.Irreps
    irreps_in2: o3.Irreps
    irreps_out: o3.Irreps
    instructions: list[Any]
    shared_weights: bool


class FusedProduct(nn.Module):
    """Product of the senders' features and edge harmonics, summed at the receivers.

    Arguments and result are laid out as e3nn's: blocks of (channels, 2l+1) for
    every irrep, weights in the order of the instructions. No parameters.

    Parameters
    ----------
    product : e3nn.o3.TensorProduct
        Of mode "uvu" with weights given per edge, like those of NequIP and MACE.
    backend : str
        See `UVUConvolution`.

    Raises
    ------
    ValueError
        If the fused convolution does not cover the product; it says why.

    Examples
    --------
    >>> paths = [(0, 0, 0, "uvu", True), (0, 1, 1, "uvu", True)]
    >>> product = o3.TensorProduct(
    ...     "8x0e", "0e + 1o", "8x0e + 8x1o", paths, shared_weights=False
    ... )
    >>> fused = FusedProduct(product)
    >>> edges = torch.tensor([[1, 0], [0, 1]])
    >>> x, y, w = torch.randn(2, 8), torch.randn(2, 4), torch.randn(2, 16)
    >>> fused(x, y, w, edges).shape
    torch.Size([2, 32])
    """

    def __init__(self, product: o3.TensorProduct, backend: str = "auto") -> None:
        super().__init__()
        theirs = cast(_Product, product)
        _check_modes(theirs)
        self.channels = _channels(theirs.irreps_in1)
        irreps = theirs.irreps_in1, theirs.irreps_in2, theirs.irreps_out
        ins, edges, outs = ([ir for _, ir in side] for side in irreps)
        ends = list(dict.fromkeys(outs))
        self.convolution = UVUConvolution(ins, edges, ends, backend)
        self.order = _slots(theirs)
        paths = [theirs.instructions[p] for p in self.order]
        places = [(p.i_in1, p.i_in2, ends.index(outs[p.i_out])) for p in paths]
        if places != list(self.convolution.paths.places):
            raise ValueError(
                f"its paths to {theirs.irreps_out} are not all that there are, sorted "
                "by what they lead to, begin with and use of the edge"
            )
        #: e3nn's normalisation of every path, divided by ours
        self.scales = [p.path_weight / outs[p.i_out].dim ** 0.5 for p in paths]

    def forward(self, x: Tensor, y: Tensor, w: Tensor, edge_index: Tensor) -> Tensor:
        """Convolve.

        Parameters
        ----------
        x : Tensor
            (n_nodes, irreps_in1.dim) node features.
        y : Tensor
            (n_edges, irreps_in2.dim) harmonics.
        w : Tensor
            (n_edges, weight_numel) weights.
        edge_index : Tensor
            (2, n_edges) senders and receivers, in any order.

        Returns
        -------
        Tensor
            (n_nodes, irreps_out.dim).
        """
        src, dst = edge_index
        if (dst[1:] < dst[:-1]).any():
            dst, order = torch.sort(dst, stable=True)
            src, y, w = src[order], y[order], w[order]
        adj = Adjacency.from_edges(src, dst, len(x))
        out = self.convolution(self._from_e3nn(x), y, self._weights(w), adj)
        return self._to_e3nn(out)

    def _weights(self, w: Tensor) -> Tensor:
        """Order and scale the paths, (n_edges, n_paths, channels)."""
        weights = w.unflatten(1, (-1, self.channels))
        if self.order != sorted(self.order):
            order = torch.tensor(self.order, device=w.device)
            weights = weights.index_select(1, order)
        if any(abs(scale - 1) > 1e-12 for scale in self.scales):
            weights = weights * weights.new_tensor(self.scales).unsqueeze(1)
        return weights

    def _from_e3nn(self, x: Tensor) -> Tensor:
        """Put channels last, (n_nodes, sum 2l+1, channels)."""
        ls = self.convolution.paths.ls_in
        blocks = [
            block.unflatten(1, (self.channels, 2 * l + 1)).mT
            for block, l in zip(
                x.split([self.channels * (2 * l + 1) for l in ls], 1), ls, strict=True
            )
        ]
        return torch.cat(blocks, 1)

    def _to_e3nn(self, out: Tensor) -> Tensor:
        """Put components last; per degree, the convolution has (2l+1, paths) rows."""
        paths = self.convolution.paths
        counts = paths.per_degree
        rows = [(2 * l + 1) * n for l, n in zip(paths.ls_out, counts, strict=True)]
        blocks = [
            block.unflatten(1, (-1, n)).permute(0, 2, 3, 1).flatten(1)
            for block, n in zip(out.split(rows, 1), counts, strict=True)
        ]
        return torch.cat(blocks, 1)

    def extra_repr(self) -> str:
        """Show the number of channels."""
        return f"{self.channels} channels"


def _check_modes(product: _Product) -> None:
    modes = {path.connection_mode for path in product.instructions}
    if modes != {"uvu"}:
        raise ValueError(f"it has paths of mode {', '.join(sorted(modes))}, not uvu")
    if product.shared_weights or not all(p.has_weight for p in product.instructions):
        raise ValueError("its weights are not given for every edge")
    if any(mul != 1 for mul, _ in product.irreps_in2):
        raise ValueError(f"its edges have several channels: {product.irreps_in2}")


def _channels(irreps: o3.Irreps) -> int:
    channels = {mul for mul, _ in irreps}
    if len(channels) != 1:
        raise ValueError(
            f"its nodes have features {irreps}, where the same number of channels of "
            "every irrep is needed"
        )
    return channels.pop()


def _slots(product: _Product) -> list[int]:
    """Path that fills each block of the output."""
    paths = product.instructions
    order = sorted(range(len(paths)), key=lambda p: paths[p].i_out)
    if [paths[p].i_out for p in order] != list(range(len(product.irreps_out))):
        raise ValueError("its paths are not one for every block of the output")
    return order
