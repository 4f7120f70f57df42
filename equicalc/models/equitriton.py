"""The graph-convolution network of EquiTriton: any set of degrees, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equicalc.kernels import SphericalHarmonics
from equicalc.models.fields import freeze
from equicalc.models.property_network import (
    PropertyNetwork,
    Surroundings,
    TargetConfig,
)
from equicalc.nn.e3nn_product import E3nnConvolution
from equicalc.nn.gate import NormGate
from equicalc.nn.radial import BesselBasis, RadialFilter
from equicalc.nn.uvw_conv import UVWConv


@dataclass(frozen=True)
class EquiTritonConfig(TargetConfig):
    """Shape of an `EquiTriton`; everything needed to build it again.

    Attributes
    ----------
    cutoff : float
        Interaction radius of one layer, Angstrom.
    ls : tuple of int
        Degrees of the features and of the edge harmonics, 0 to 10 in any order; 0 is
        among them.
    channels : int
        Channels of every degree, the paper's h.
    layers : int
        Graph convolutions.
    embedding : int
        Numbers that an element is looked up as.
    n_radial : int
        Bessel functions.
    radial_hidden : int
        Hidden width of the radial perceptron; 0: twice the channels, which gives the
        numbers of parameters that the paper tells.
    degree_norm : float
        Message sums are divided by it.
    """

    cutoff: float = 6.0
    ls: tuple[int, ...] = (0, 1, 2)
    channels: int = 32
    layers: int = 3
    embedding: int = 64
    n_radial: int = 20
    radial_hidden: int = 0
    degree_norm: float = 6.0828

    def __post_init__(self) -> None:
        super().__post_init__()
        freeze(self, "ls")
        if 0 not in self.ls or len(set(self.ls)) < len(self.ls):
            raise ValueError(
                f"ls must be distinct degrees with 0 among them, got {self.ls}: "
                "properties are read from the scalars"
            )


class GraphConvolution(nn.Module):
    """Messages of neighbours by a fully connected tensor product.

    1. m_i = sum_j W(|r_ij|) (h_j x Y(r_ij)) / degree_norm
    2. h_i <- gate(h_i + m_i)
    """

    def __init__(
        self, config: EquiTritonConfig, ls_in: tuple[int, ...], backend: str
    ) -> None:
        super().__init__()
        h, ls = config.channels, config.ls
        kind = E3nnConvolution if backend == "e3nn" else UVWConv
        self.convolution = kind(ls_in, ls, ls, h, h)
        self.filters = RadialFilter(
            config.n_radial,
            (config.radial_hidden or 2 * h,),
            self.convolution.n_weights,
        )
        self.scale = 1 / config.degree_norm
        self.ls_in, self.ls = ls_in, ls
        self.gate = NormGate()

    def forward(self, features: list[Tensor], around: Surroundings) -> list[Tensor]:
        """Map features of `ls_in` to those of `ls`, one tensor for every degree."""
        # 1. messages
        messages = self.convolution(
            torch.cat(features, 1),
            around.harmonics,
            self.filters.hidden(around.basis),
            self.filters.matrix,
            around.adjacency,
        )
        # 2. update
        new = (messages * self.scale).split([2 * l + 1 for l in self.ls], 1)
        kept = dict(zip(self.ls_in, features))
        return self.gate(
            [kept[l] + x if l in kept else x for l, x in zip(self.ls, new)]
        )


class EquiTriton(PropertyNetwork):
    """Properties of molecules by graph convolutions, read from the scalars.

    The paper leaves two things open, which are chosen here so that no parameter is
    added: an atom keeps its own features, and these pass a gate (`NormGate`).

    Parameters
    ----------
    config : EquiTritonConfig
        Shape of the network.
    backend : str
        ``"e3nn"`` for its spherical harmonics and tensor product; else our
        convolution, with any backend of `SphericalHarmonics`. The state dict does not
        depend on it.

    References
    ----------
    .. [1] Lee, Galkin, Miret, "Deconstructing equivariant representations in
       molecular systems", arXiv:2410.08131.

    Examples
    --------
    >>> model = EquiTriton(EquiTritonConfig(elements=(1, 6), ls=(0, 3, 4), channels=8))
    >>> model.irreps_features
    '8x0e + 8x3o + 8x4e'
    """

    config: EquiTritonConfig
    target_part = "readout"

    def __init__(self, config: EquiTritonConfig, backend: str = "auto") -> None:
        h, ls = config.channels, config.ls
        super().__init__(
            config,
            ls,
            [h] * len(ls),
            SphericalHarmonics(list(ls), True, "component", backend=backend),
            BesselBasis(config.cutoff, config.n_radial),
        )
        self.embedding = nn.Embedding(len(config.elements), config.embedding)
        self.project = nn.Linear(config.embedding, h, bias=False)
        inputs = [(0,), *[ls] * (config.layers - 1)]
        self.layers = nn.ModuleList(
            GraphConvolution(config, ls_in, backend) for ls_in in inputs
        )
        self.readout = nn.Linear(h, len(config.targets), bias=False)

    def atom_features(self, around: Surroundings) -> list[Tensor]:
        """Return (n_atoms, 2l+1, channels) of every degree."""
        features = [self.project(self.embedding(around.species)).unsqueeze(1)]
        for layer in self.layers:
            features = layer(features, around)
        return features

    def contributions(self, features: list[Tensor], around: Surroundings) -> Tensor:
        """Return what atoms contribute to the targets."""
        read = features[self.config.ls.index(self.config.degree)]
        return self.readout(read).squeeze(1)  # of three components, none is lost
