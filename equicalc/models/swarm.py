"""Decoders: from the embedding of a molecule to a swarm of weighted points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equicalc.kernels.convolution import Adjacency
from equicalc.models.mo3enet_config import Mo3ENetConfig
from equicalc.nn.radial import EnvelopedGaussians
from equicalc.nn.vector_conv import VectorConvolution
from equicalc.nn.vectors import EMLP


@dataclass(frozen=True)
class Swarm:
    """Points that stand for the atoms of molecules.

    Attributes
    ----------
    positions : (n_graphs, n_points, 3), Angstrom
        From the centroid of each molecule.
    types : (n_graphs, n_points, n_elements)
        Probability of each element.
    shares : (n_graphs, n_points)
        Parts of the molecule's atoms, adding up to 1.
    """

    positions: Tensor
    types: Tensor
    shares: Tensor

    def __len__(self) -> int:
        return len(self.positions)


#: Scale of what is learned beside the slots' own positions: positions are to be right
#: to a hundredth, and a step of the training should not move them much.
GENTLE = 0.1


def start_small(*layers: nn.Linear) -> None:
    """Let a decoder begin with little to say beside the slots."""
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.01)


class MLPDecoder(nn.Module):
    """All points are read from the same scalars and vectors.

    Parameters
    ----------
    config : Mo3ENetConfig
        Shape of the autoencoder.
    """

    def __init__(self, config: Mo3ENetConfig) -> None:
        super().__init__()
        n, C, n_points = config.bottleneck, config.decoder_channels, config.points
        self.scalars = nn.Linear(n, C)
        self.vectors = nn.Linear(n, C, bias=False)
        self.layers = EMLP(C, config.decoder_depth)
        self.positions = nn.Linear(C, n_points, bias=False)
        self.types = nn.Linear(C, n_points * (len(config.elements) + 1))
        self.n_points = n_points
        start_small(self.positions, self.types)

    def forward(self, s: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Decode embeddings.

        Parameters
        ----------
        s : (n_graphs, bottleneck)
            Invariants.
        g : (n_graphs, 3, bottleneck)
            Vectors.

        Returns
        -------
        positions : (n_graphs, n_points, 3)
        logits : (n_graphs, n_points, n_elements + 1)
            Of the elements and, last, of the share.
        """
        s, v = self.layers(self.scalars(s), self.vectors(g))
        positions = GENTLE * self.positions(v).transpose(1, 2)
        return positions, self.types(s).unflatten(1, (self.n_points, -1))


class GNNDecoder(nn.Module):
    """Points are the nodes of a complete graph that is the same for all molecules.

    1. every node starts with its own mixture of the embedding;
    2. layers on the nodes and messages between all of them;
    3. every node is one point.

    Parameters
    ----------
    config : Mo3ENetConfig
        Shape of the autoencoder.
    """

    MESSAGES = 32  # channels
    N_RADIAL = 16  # functions of the distances between the nodes' first positions
    REACH = 2.0  # largest distance that they resolve, in units of the positions

    def __init__(self, config: Mo3ENetConfig) -> None:
        super().__init__()
        n, C, n_points = config.bottleneck, config.decoder_channels, config.points
        depth, scale = config.decoder_depth, 1 / (n_points - 1)
        self.n_points = n_points
        self.scalars = nn.Linear(n, n_points * C)
        self.vectors = nn.Linear(n, n_points * C, bias=False)
        self.start = nn.Linear(C, 1, bias=False)
        self.basis = EnvelopedGaussians(self.REACH, self.N_RADIAL)
        self.layers = nn.ModuleList(EMLP(C, 1) for _ in range(depth))
        self.convolutions = nn.ModuleList(
            VectorConvolution(C, self.MESSAGES, self.N_RADIAL, scale)
            for _ in range(depth)
        )
        self.positions = nn.Linear(C, 1, bias=False)
        self.types = nn.Linear(C, len(config.elements) + 1)
        start_small(self.positions, self.types)

    def edges(self, n_graphs: int, device: torch.device) -> Tensor:
        """Return the edges of complete graphs, (2, n_edges), sorted by centre."""
        n = self.n_points
        dst, src = (~torch.eye(n, dtype=torch.bool, device=device)).nonzero().T
        first = n * torch.arange(n_graphs, device=device).unsqueeze(1)
        return torch.stack([(src + first).flatten(), (dst + first).flatten()])

    def forward(self, s: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Decode embeddings, see `MLPDecoder.forward`."""
        n = self.n_points
        # 1. nodes
        s = self.scalars(s).unflatten(1, (n, -1)).flatten(0, 1)
        v = self.vectors(g).unflatten(2, (n, -1)).transpose(1, 2).flatten(0, 1)
        # 2. layers
        src, dst = self.edges(len(g), g.device)
        adj = Adjacency.from_edges(src, dst, n * len(g))
        first = self.start(v).squeeze(2)  # (n_nodes, 3)
        away = first[src] - first[dst]
        basis = self.basis((away.square().sum(1) + 1e-6).sqrt())
        envelope = torch.ones_like(basis[:, 0])
        for layer, convolution in zip(self.layers, self.convolutions):
            s, v = convolution(*layer(s, v), adj, basis, envelope)
        # 3. points
        positions = GENTLE * self.positions(v).squeeze(2).unflatten(0, (-1, n))
        return positions, self.types(s).unflatten(0, (-1, n))


#: Name in configurations -> decoder.
DECODERS = {"mlp": MLPDecoder, "gnn": GNNDecoder}
