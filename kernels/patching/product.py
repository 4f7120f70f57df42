"""e3nn's tensor product over edges and the sum after it, as one fused convolution."""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from equicalc import o3
from equicalc.kernels.convolution import Adjacency, UVUConvolution
from equicalc.kernels.convolution.paths import Paths

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
        self.ls_in = [ir.l for _, ir in theirs.irreps_in1]
        self.ls_out = _ascending([ir.l for _, ir in theirs.irreps_out])
        ls_edge = [ir.l for _, ir in theirs.irreps_in2]
        self.convolution = UVUConvolution(self.ls_in, ls_edge, self.ls_out, backend)
        self.order = _slots(theirs)
        paths = [theirs.instructions[p] for p in self.order]
        ends = [ir.l for _, ir in theirs.irreps_out]
        couplings = [
            (self.ls_in[p.i_in1], ls_edge[p.i_in2], ends[p.i_out]) for p in paths
        ]
        _check_couplings(couplings, self.convolution.paths)
        #: e3nn's normalisation of every path, divided by ours
        self.scales = [p.path_weight / (2 * ends[p.i_out] + 1) ** 0.5 for p in paths]

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
            weights = weights[:, self.order]
        if any(abs(scale - 1) > 1e-12 for scale in self.scales):
            weights = weights * weights.new_tensor(self.scales).unsqueeze(1)
        return weights

    def _from_e3nn(self, x: Tensor) -> Tensor:
        """Put channels last, (n_nodes, sum 2l+1, channels)."""
        widths = [self.channels * (2 * l + 1) for l in self.ls_in]
        blocks = [
            block.unflatten(1, (self.channels, 2 * l + 1)).mT
            for block, l in zip(x.split(widths, 1), self.ls_in, strict=True)
        ]
        return torch.cat(blocks, 1)

    def _to_e3nn(self, out: Tensor) -> Tensor:
        """Put components last; per degree, the convolution has (2l+1, paths) rows."""
        counts = self.convolution.paths_per_degree
        rows = [(2 * l + 1) * n for l, n in zip(self.ls_out, counts, strict=True)]
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
    degrees = [ir.l for _, ir in irreps]
    if len(channels) != 1 or len(set(degrees)) != len(degrees):
        raise ValueError(
            f"its nodes have features {irreps}, where one irrep of every degree, all "
            "with the same number of channels, is needed"
        )
    return channels.pop()


def _ascending(degrees: list[int]) -> list[int]:
    if degrees != sorted(degrees):
        raise ValueError(f"the degrees of its output do not ascend: {degrees}")
    return sorted(set(degrees))


def _slots(product: _Product) -> list[int]:
    """Path that fills each block of the output."""
    paths = product.instructions
    order = sorted(range(len(paths)), key=lambda p: paths[p].i_out)
    if [paths[p].i_out for p in order] != list(range(len(product.irreps_out))):
        raise ValueError("its paths are not one for every block of the output")
    return order


def _check_couplings(couplings: list[tuple[int, int, int]], paths: Paths) -> None:
    if couplings != list(paths.couplings):
        raise ValueError(
            f"its paths (l1, l2, l3) are {couplings}; the fused convolution has "
            f"{list(paths.couplings)}, those with even l1 + l2 + l3"
        )
