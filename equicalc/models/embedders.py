"""Embedders: networks that give every atom of a fragment equivariant features."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    """

    elements: tuple[int, ...]
    cutoff: float
    ls: tuple[int, ...]
    channels: int
    layers: int
    n_radial: int


class E3SchNet(nn.Module):
    """SchNet with features of higher degrees; with ``ls=(0,)`` it is SchNet.

    h_i <- h_i + linear(sum_j W(|r_ij|) (h_j x Y(r_ij))), where W is linear in the
    activation of Gaussian radial functions under a cutoff.

    Parameters
    ----------
    shape : EmbedderShape
        Size.
    backend : str
        Kernels.

    References
    ----------
    .. [1] Daigavane et al., "Symphony", ICLR 2024, appendix C.1.
    .. [2] Schütt et al., "SchNet", NeurIPS 2017.
    """

    def __init__(self, shape: EmbedderShape, backend: str = "auto") -> None:
        super().__init__()
        C, ls = shape.channels, shape.ls
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(len(shape.elements), C))
        self.harmonics = _harmonics(ls, backend)
        inputs = [(0,), *[ls] * (shape.layers - 1)]
        self.convolutions = nn.ModuleList(
            UVUConvolution(ls_in, ls, ls, backend=backend) for ls_in in inputs
        )
        self.filters = nn.ModuleList(
            nn.Linear(shape.n_radial, convolution.n_paths * C, bias=False)
            for convolution in self.convolutions
        )
        self.after = nn.ModuleList(
            DegreeLinear(
                ls, [n * C for n in convolution.paths_per_degree], [C] * len(ls)
            )
            for convolution in self.convolutions
        )

    def forward(self, batch: FragmentBatch) -> Tensor:
        """Return features, (n_nodes, sum 2l+1, channels)."""
        distance = torch.linalg.vector_norm(batch.edge_vectors, dim=1)
        harmonics = self.harmonics(batch.edge_vectors)
        # zero for zero, as the filters must be at the cutoff
        basis = nn.functional.softplus(self._gaussians(distance)) - math.log(2)
        adj = Adjacency.from_edges(*batch.edges, len(batch.species))
        h = self.embedding[batch.species].unsqueeze(1)  # (n_nodes, 1, channels)
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


class Interactions(nn.Module):
    """The message passing of `equicalc.models.Potential`, normalised at the end.

    Parameters
    ----------
    shape : EmbedderShape
        Size.
    backend : str
        Kernels.
    avg_neighbors : float
        Message sums are divided by its square root.
    """

    def __init__(
        self, shape: EmbedderShape, backend: str = "auto", avg_neighbors: float = 10.0
    ) -> None:
        super().__init__()
        ls = shape.ls
        config = PotentialConfig(
            elements=shape.elements,
            cutoff=shape.cutoff,
            ls=ls,
            channels=shape.channels,
            layers=shape.layers,
            n_radial=shape.n_radial,
            avg_neighbors=avg_neighbors,
            dipole=False,
            repulsion=False,
        )
        self.embedding = nn.Parameter(torch.randn(len(shape.elements), shape.channels))
        self.harmonics = _harmonics(ls, backend)
        self.basis = BesselBasis(shape.cutoff, shape.n_radial)
        inputs = [(0,), *[ls] * (shape.layers - 1)]
        self.layers = nn.ModuleList(
            InteractionLayer(config, ls_in, ls, backend) for ls_in in inputs
        )
        self.norm = EquivariantNorm(shape.channels)

    def forward(self, batch: FragmentBatch) -> Tensor:
        """Return features, (n_nodes, sum 2l+1, channels)."""
        return self.norm(self.messages(batch))

    def messages(self, batch: FragmentBatch) -> Tensor:
        """Return features that are not normalised."""
        distance = torch.linalg.vector_norm(batch.edge_vectors, dim=1)
        harmonics, basis = self.harmonics(batch.edge_vectors), self.basis(distance)
        adj = Adjacency.from_edges(*batch.edges, len(batch.species))
        h = self.embedding[batch.species].unsqueeze(1)
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


def _harmonics(ls: Sequence[int], backend: str) -> SphericalHarmonics:
    return SphericalHarmonics(
        list(ls), normalize=True, normalization="component", backend=backend
    )
