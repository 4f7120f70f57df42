"""Networks for the properties of QM9: shared features, an output block per target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from equicalc.kernels import SphericalHarmonics
from equicalc.models.fields import freeze
from equicalc.models.potential import InteractionLayer, PotentialConfig
from equicalc.models.property_network import (
    PropertyNetwork,
    Surroundings,
    TargetConfig,
)
from equicalc.nn.bases import BasisName, radial_basis
from equicalc.nn.gate import ScalarGate
from equicalc.nn.kernel_conv import KernelConv, degrees_of


@dataclass(frozen=True)
class QM9NetConfig(TargetConfig):
    """Shape of a `QM9Net`; everything needed to build it again.

    Attributes
    ----------
    cutoff : float
        Last centre of the radial basis, or where the Bessel functions end, Angstrom.
    basis : str
        ``"cosine"``, ``"gaussian"`` or ``"bessel"``.
    n_radial : int
        Functions of the basis.
    radial_hidden : tuple of int
        Hidden widths of the radial perceptrons.
    embedding : int
        Numbers that an element is looked up as.
    multiplicities : tuple of int
        Channels of the degrees 0, 1, ...: ``(128,)`` is an L0Net, ``(64, 21)`` an
        L1Net, ``(42, 14, 8)`` an L2Net. 0 leaves a degree out, as from a network that
        was pruned, and what goes by the number of degrees as it was with it.
    layers : int
        Convolutions and gates that all targets share.
    convolution : str
        ``"full"``: every channel with every other one, `KernelConv`. ``"fused"``:
        channel by channel between linear maps, the layer of `Potential`; embedding
        and all multiplicities are then the same.
    chiral : bool
        Tell mirror images apart; for ``"full"`` only.
    output_multiplicities : tuple of int
        The same as `multiplicities`, of the target's own convolutions.
    output_layers : int
        Convolutions and gates of each target.
    output_hidden : tuple of int
        Hidden widths of the perceptron that ends an output block. Empty: a last
        convolution, without a gate, ends it.
    avg_neighbors : float
        Mean number of neighbours, normalises sums.
    """

    cutoff: float = 10.0
    basis: BasisName = "cosine"
    n_radial: int = 50
    radial_hidden: tuple[int, ...] = (128, 128)
    embedding: int = 128
    multiplicities: tuple[int, ...] = (64, 21)
    layers: int = 4
    convolution: Literal["full", "fused"] = "full"
    chiral: bool = True
    output_multiplicities: tuple[int, ...] = ()
    output_layers: int = 0
    output_hidden: tuple[int, ...] = ()
    avg_neighbors: float = 15.0

    def __post_init__(self) -> None:
        super().__post_init__()
        freeze(self, "radial_hidden", "multiplicities")
        freeze(self, "output_multiplicities", "output_hidden")
        if bool(self.output_layers) != bool(self.output_multiplicities):
            raise ValueError(
                f"{self.output_layers} output_layers with output_multiplicities "
                f"{self.output_multiplicities}: give both or neither"
            )
        for channels in (self.multiplicities, self.output_multiplicities or (1,)):
            if not channels or channels[0] < 1 or min(channels) < 0:
                raise ValueError(
                    f"multiplicities {channels}: give the channels of the degrees 0, "
                    "1, ..., at least one for degree 0"
                )
        if self.convolution == "fused":
            self._check_fused()

    def _check_fused(self) -> None:
        if {self.embedding} != set(self.multiplicities) - {0}:
            raise ValueError(
                f"embedding {self.embedding} and multiplicities {self.multiplicities}: "
                "the fused convolution needs the same number for all"
            )
        if self.chiral or self.output_layers or not self.output_hidden:
            raise ValueError(
                "the fused convolution keeps parity and is followed by a perceptron: "
                "set chiral: false, output_layers: 0 and some output_hidden"
            )

    @property
    def interaction(self) -> PotentialConfig:
        """Shape of the fused layers."""
        return PotentialConfig(
            elements=self.elements,
            cutoff=self.cutoff,
            ls=degrees_of(self.multiplicities),
            channels=self.embedding,
            layers=self.layers,
            n_radial=self.n_radial,
            radial_hidden=self.radial_hidden,
            avg_neighbors=self.avg_neighbors,
            dipole=False,
            repulsion=False,
            gate_widths=(len(self.multiplicities) * self.embedding,) * self.layers,
        )


class KernelLayer(nn.Module):
    """Convolution, gate, and what was there before added to it.

    The gates of the degrees l > 0 are extra scalars of the convolution. Features are
    added where their numbers of channels agree.
    """

    def __init__(
        self,
        config: QM9NetConfig,
        channels_in: Sequence[int],
        channels_out: Sequence[int],
    ) -> None:
        super().__init__()
        scalars, *tensors = channels_out
        self.convolution = kernel_conv(
            config, channels_in, (scalars + sum(tensors), *tensors)
        )
        self.channels_out = tuple(channels_out)
        self.gate = ScalarGate()
        self.residual = tuple(channels_in) == tuple(channels_out)

    def forward(self, features: list[Tensor], around: Surroundings) -> list[Tensor]:
        """Map features, one tensor for every degree."""
        new = self.gate(
            self.convolution(features, around.harmonics, around.basis, around.adjacency)
        )
        if self.residual:
            return [x + old for x, old in zip(new, features)]
        return new


class FusedLayer(nn.Module):
    """The layer of `Potential`, for features in one tensor for every degree."""

    def __init__(self, config: QM9NetConfig, first: bool, backend: str) -> None:
        super().__init__()
        shape = config.interaction
        ls_in = (0,) if first else shape.ls
        self.interaction = InteractionLayer(
            shape, ls_in, shape.ls, backend, shape.gate_widths[0]
        )
        self.rows = [2 * l + 1 for l in shape.ls]

    def forward(self, features: list[Tensor], around: Surroundings) -> list[Tensor]:
        """Map features, one tensor for every degree."""
        h = torch.cat(features, 1)
        return list(self.interaction(h, *around).split(self.rows, 1))


class OutputBlock(nn.Module):
    """What atoms contribute to one target, from the features that all share."""

    def __init__(self, config: QM9NetConfig) -> None:
        super().__init__()
        own = [config.output_multiplicities] * config.output_layers
        channels = [config.multiplicities, *own]
        self.layers = nn.ModuleList(
            KernelLayer(config, a, b) for a, b in pairwise(channels)
        )
        if config.output_hidden:
            self.head = perceptron([channels[-1][0], *config.output_hidden, 1])
        else:
            self.head = kernel_conv(config, channels[-1], (1,))

    def forward(self, features: list[Tensor], around: Surroundings) -> Tensor:
        """Return (n_atoms, 1)."""
        for layer in self.layers:
            features = layer(features, around)
        if isinstance(self.head, KernelConv):
            [out] = self.head(
                features, around.harmonics, around.basis, around.adjacency
            )
            return out.squeeze(1)
        return self.head(features[0].squeeze(1))


class VectorReadout(nn.Module):
    """What atoms contribute to a vector, in the place of an `OutputBlock`.

    Parameters
    ----------
    channels : int
        Of degree 1.
    place : int
        Where degree 1 stands among the features.
    """

    def __init__(self, channels: int, place: int) -> None:
        super().__init__()
        self.place = place
        self.linear = nn.Linear(channels, 1, bias=False)

    def forward(self, features: list[Tensor], around: Surroundings) -> Tensor:
        """Return (n_atoms, 3, 1)."""
        return self.linear(features[self.place])


class QM9Net(PropertyNetwork):
    """L0Net, L1Net and L2Net, and networks of several targets.

    Parameters
    ----------
    config : QM9NetConfig
        Shape of the network.
    backend : str
        Kernels of the spherical harmonics and of fused convolutions, see
        `equicalc.models.Potential`.

    References
    ----------
    .. [1] Thomas et al., "Tensor field networks", arXiv:1802.08219.
    .. [2] Schütt et al., "SchNet", J. Chem. Phys. 148, 241722 (2018): an L0Net.

    Examples
    --------
    >>> shape = {"multiplicities": (8, 3), "embedding": 8, "layers": 2}
    >>> model = QM9Net(QM9NetConfig(elements=(1, 6), targets=("mu", "gap"), **shape))
    >>> model.irreps_features, len(model.outputs)
    ('8x0e + 3x1o', 2)
    """

    config: QM9NetConfig
    target_part = "outputs"

    def __init__(self, config: QM9NetConfig, backend: str = "auto") -> None:
        fused, n = config.convolution == "fused", config.multiplicities
        ls = degrees_of(n)
        lmax = max(*ls, *degrees_of(config.output_multiplicities), 0)
        edges = list(ls) if fused else list(range(2 * lmax + 1))
        super().__init__(
            config,
            ls,
            [n[l] for l in ls],
            SphericalHarmonics(edges, True, "component", backend=backend),
            radial_basis(config.basis, config.cutoff, config.n_radial),
        )
        self.embedding = nn.Embedding(len(config.elements), config.embedding)
        channels = [(config.embedding,), *[n] * config.layers]
        self.layers = nn.ModuleList(
            FusedLayer(config, number == 0, backend)
            if fused
            else KernelLayer(config, *channels[number : number + 2])
            for number in range(config.layers)
        )
        self.outputs = nn.ModuleList(
            OutputBlock(config)
            if config.kind == "scalar"
            else VectorReadout(n[1], ls.index(1))
            for _ in config.targets
        )

    def atom_features(self, around: Surroundings) -> list[Tensor]:
        """Return (n_atoms, 2l+1, channels) of every degree."""
        features = [self.embedding(around.species).unsqueeze(1)]
        for layer in self.layers:
            features = layer(features, around)
        return features

    def contributions(self, features: list[Tensor], around: Surroundings) -> Tensor:
        """Return what atoms contribute to the targets."""
        return torch.cat([block(features, around) for block in self.outputs], -1)


def kernel_conv(
    config: QM9NetConfig, channels_in: Sequence[int], channels_out: Sequence[int]
) -> KernelConv:
    """Return a convolution with the radial functions of a network."""
    return KernelConv(
        channels_in,
        channels_out,
        config.n_radial,
        config.radial_hidden,
        config.avg_neighbors,
        config.chiral,
    )


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Return linear maps with ReLU between them."""
    steps: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
    for a, b in pairwise(widths[1:]):
        steps += [nn.ReLU(), nn.Linear(a, b)]
    return nn.Sequential(*steps)
