"""Embedders: networks that give every atom of a fragment equivariant features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from equicalc.kernels import SphericalHarmonics
from equicalc.kernels.convolution import Adjacency, UVUConvolution
from equicalc.models.potential import InteractionLayer, PotentialConfig
from equicalc.nn.linear import DegreeLinear
from equicalc.nn.norm import EquivariantNorm
from equicalc.nn.radial import BesselBasis, polynomial_envelope

if TYPE_CHECKING:
    from equicalc.data.fragment_batch import FragmentBatch

__all__ = ["EMBEDDERS", "E3SchNet", "EmbedderShape", "Interactions", "NequIP"]


@dataclass(frozen=True)
class EmbedderShape:
    """Size of an embedder.

    Attributes
    ----------
    elements
        Atomic numbers.
    cutoff
        Reach of a layer, Angstrom.
    ls
        Degrees of the features.
    channels
        Of every degree.
    layers
        Message-passing layers.
    n_radial
        Radial functions.
    radial_hidden
        Hidden widths of the radial perceptrons of `Interactions`.
    """

    elements: tuple[int, ...]
    cutoff: float
    ls: tuple[int, ...]
    channels: int
    layers: int
    n_radial: int
    radial_hidden: tuple[int, ...] = ()


class FragmentEmbedder(nn.Module):
    """What embedders have in common: what they begin with.

    Parameters
    ----------
    shape : EmbedderShape
        Size.
    backend : str
        Kernels.
    """

    def __init__(self, shape: EmbedderShape, backend: str = "auto") -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(len(shape.elements), shape.channels))
        self.harmonics = SphericalHarmonics(
            list(shape.ls), normalize=True, normalization="component", backend=backend
        )

    @property
    def inputs(self) -> list[tuple[int, ...]]:
        """Degrees that go into each layer: the first one sees species only."""
        return [(0,), *[self.shape.ls] * (self.shape.layers - 1)]

    def start(self, batch: FragmentBatch) -> tuple[Tensor, Tensor, Tensor, Adjacency]:
        """Return what the first layer sees.

        Returns
        -------
        h : (n_nodes, 1, channels)
            Embedded species.
        distance : (n_edges,), Angstrom
        harmonics : (n_edges, sum 2l+1)
        adjacency
        """
        src, dst = batch.edges
        return (
            self.embedding[batch.species].unsqueeze(1),
            torch.linalg.vector_norm(batch.edge_vectors, dim=1),
            self.harmonics(batch.edge_vectors),
            Adjacency.from_edges(src, dst, len(batch.species)),
        )


class E3SchNet(FragmentEmbedder):
    """SchNet with features of higher degrees; with ``ls=(0,)`` it is SchNet.

    h_i <- h_i + linear(sum_j W(|r_ij|) (h_j x Y(r_ij))), where W is linear in the
    activation of Gaussian radial functions under a cutoff.

    References
    ----------
    .. [1] Daigavane et al., "Symphony", ICLR 2024, appendix C.1.
    .. [2] Schütt et al., "SchNet", NeurIPS 2017.
    """

    def __init__(self, shape: EmbedderShape, backend: str = "auto") -> None:
        super().__init__(shape, backend)
        C, ls = shape.channels, shape.ls
        convolutions = [
            UVUConvolution(ls_in, ls, ls, backend=backend) for ls_in in self.inputs
        ]
        self.convolutions = nn.ModuleList(convolutions)
        self.filters = nn.ModuleList(
            nn.Linear(shape.n_radial, convolution.n_paths * C, bias=False)
            for convolution in convolutions
        )
        n_paths = [convolution.paths_per_degree for convolution in convolutions]
        self.after = nn.ModuleList(
            DegreeLinear(ls, [n * C for n in per_degree], [C] * len(ls))
            for per_degree in n_paths
        )

    def forward(self, batch: FragmentBatch) -> Tensor:
        """Return features, (n_nodes, sum 2l+1, channels)."""
        h, distance, harmonics, adj = self.start(batch)
        # zero for zero, as the filters must be at the cutoff
        basis = nn.functional.softplus(self._gaussians(distance)) - math.log(2)
        for convolution, filters, after in zip(
            self.convolutions, self.filters, self.after
        ):
            weights = filters(basis).unflatten(1, (-1, h.shape[2]))
            messages = convolution(h, harmonics, weights, adj)
            new = torch.cat(after(messages.flatten(1)), 1)
            h = torch.cat([new[:, : h.shape[1]] + h, new[:, h.shape[1] :]], 1)
        return h

    def _gaussians(self, distance: Tensor) -> Tensor:
        """Gaussians at equal distances under a cutoff, (n_edges, n_radial)."""
        cutoff, n = self.shape.cutoff, self.shape.n_radial
        centres = torch.linspace(0, cutoff, n, device=distance.device)
        x = (distance.unsqueeze(1) - centres) / (cutoff / max(n - 1, 1))
        envelope = polynomial_envelope(distance / cutoff).unsqueeze(1)
        return torch.exp(-0.5 * x.square()) * envelope


class Interactions(FragmentEmbedder):
    """The message passing of `equicalc.models.Potential`, normalised at the end.

    Parameters
    ----------
    shape, backend
        See `FragmentEmbedder`.
    avg_neighbors : float
        Message sums are divided by its square root.
    """

    def __init__(
        self, shape: EmbedderShape, backend: str = "auto", avg_neighbors: float = 10.0
    ) -> None:
        super().__init__(shape, backend)
        ls = shape.ls
        config = PotentialConfig(
            elements=shape.elements,
            cutoff=shape.cutoff,
            ls=ls,
            channels=shape.channels,
            layers=shape.layers,
            n_radial=shape.n_radial,
            radial_hidden=shape.radial_hidden,
            avg_neighbors=avg_neighbors,
            dipole=False,
            repulsion=False,
        )
        self.basis = BesselBasis(shape.cutoff, shape.n_radial)
        self.layers = nn.ModuleList(
            InteractionLayer(config, ls_in, ls, backend) for ls_in in self.inputs
        )
        self.norm = EquivariantNorm(shape.channels)

    def forward(self, batch: FragmentBatch) -> Tensor:
        """Return features, (n_nodes, sum 2l+1, channels)."""
        return self.norm(self.messages(batch))

    def messages(self, batch: FragmentBatch) -> Tensor:
        """Return features that are not normalised."""
        h, distance, harmonics, adj = self.start(batch)
        basis = self.basis(distance)
        for layer in self.layers:
            h = layer(h, batch.species, harmonics, basis, adj)
        return h


class NequIP(Interactions):
    """Message passing after NequIP: sums over 20, degree l of the output times 0.5^l.

    Its gates see the norms of higher degrees too, see `equicalc.nn.gate`.

    References
    ----------
    .. [1] Batzner et al., Nat. Commun. 13, 2453 (2022).
    """

    factors: Tensor

    def __init__(self, shape: EmbedderShape, backend: str = "auto") -> None:
        super().__init__(shape, backend, avg_neighbors=400.0)
        del self.norm
        factors = [0.5**l for l in shape.ls for _ in range(2 * l + 1)]
        self.register_buffer("factors", torch.tensor(factors).unsqueeze(1), False)

    def forward(self, batch: FragmentBatch) -> Tensor:
        """Return features, (n_nodes, sum 2l+1, channels)."""
        return self.messages(batch) * self.factors


#: What a configuration may name.
EMBEDDERS = {"e3schnet": E3SchNet, "nequip": NequIP, "equicalc": Interactions}
