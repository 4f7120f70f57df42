"""Where MACE and NequIP keep what can be replaced, found by structure.

Nothing of either package is imported. A replacement is an attribute that is set on an
instance and hides the one of its class; taking the attribute away restores it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from equicalc import o3
from equicalc.kernels.spherical_harmonics import SphericalHarmonics

from .product import FusedProduct

__all__ = ["FINDERS", "Override"]


@dataclass(frozen=True)
class Override:
    """An attribute that stands before the one of the module's class."""

    module: nn.Module
    name: str
    value: Any


class _Harmonics(Protocol):
    """What is read of `o3.SphericalHarmonics`, whose decorator hides its type."""

    _ls_list: list[int]
    normalize: bool
    normalization: str
    irreps_in: o3.Irreps


def _replace_harmonics(module: nn.Module, backend: str) -> Iterator[Override]:
    """Evaluate e3nn's spherical harmonics with ours."""
    if isinstance(module, o3.SphericalHarmonics):
        theirs = cast(_Harmonics, module)
        ours = SphericalHarmonics(
            theirs._ls_list,
            theirs.normalize,
            theirs.normalization,
            theirs.irreps_in,
            backend,
        )
        yield Override(module, "forward", ours.forward)


def _replace_mace(module: nn.Module, backend: str) -> Iterator[Override]:
    """Fuse the convolution of MACE's interaction blocks.

    With an attribute ``conv_fusion`` a block hands node features and edges to its
    tensor product and takes the sums over edges back.
    """
    product = getattr(module, "conv_tp", None)
    if isinstance(product, o3.TensorProduct) and hasattr(module, "conv_tp_weights"):
        yield Override(product, "forward", FusedProduct(product, backend).forward)
        yield Override(module, "conv_fusion", True)


def _replace_nequip(module: nn.Module, backend: str) -> Iterator[Override]:
    """Fuse the convolution of NequIP's interaction blocks.

    Until version 0.7 a block sums what its tensor product sends. From 0.8 on a module
    in it does both; one with a ``tp_conv`` leaves that to another package of kernels.
    """
    place = getattr(module, "tp_scatter", module)
    product = getattr(place, "tp", None)
    if not isinstance(product, o3.TensorProduct) or not hasattr(module, "linear_2"):
        return
    if not hasattr(place, "tp_conv"):
        fused = FusedProduct(product, backend)
        whole = place is module
        ours = NequIPInteraction(module, fused) if whole else NequIPScatter(fused)
        yield Override(place, "forward", ours.forward)


#: What can be replaced: the overrides of one module, none if it is of another kind.
FINDERS: tuple[Callable[[nn.Module, str], Iterator[Override]], ...] = (
    _replace_harmonics,
    _replace_mace,
    _replace_nequip,
)


@dataclass(frozen=True)
class NequIPInteraction:
    """The interaction block of NequIP 0.5 to 0.7 around a fused convolution."""

    block: Any
    product: FusedProduct

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        """Update ``node_features``.

        1. self-connection; 2. linear, convolution, linear; 3. sum.
        """
        block, features = self.block, data["node_features"]
        # 1
        own = 0.0 if block.sc is None else block.sc(features, data["node_attrs"])
        # 2
        radial = block.fc if hasattr(block, "fc") else block.edge_mlp  # from 0.7 on
        weights = radial(data["edge_embedding"])
        edges = data["edge_index"].flip(0)  # NequIP names the receiver first
        sent = block.linear_1(features)
        messages = self.product(sent, data["edge_attrs"], weights, edges)
        if block.avg_num_neighbors is not None:
            messages = messages / block.avg_num_neighbors**0.5
        # 3
        data["node_features"] = block.linear_2(messages) + own
        return data


@dataclass(frozen=True)
class NequIPScatter:
    """The tensor product with a sum over the edges of NequIP from 0.8 on."""

    product: FusedProduct

    def forward(
        self,
        x: Tensor,
        edge_attr: Tensor,
        edge_weight: Tensor,
        edge_dst: Tensor,
        edge_src: Tensor,
    ) -> Tensor:
        """Sum the products at the receivers, under the names of NequIP."""
        edges = torch.stack([edge_src, edge_dst])
        return self.product(x, edge_attr, edge_weight, edges)
