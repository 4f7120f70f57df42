"""Layers of scalars and Cartesian vectors, equivariant under rotation and inversion.

Scalars are (n, channels), vectors (n, 3, channels). Nothing but linear maps of the
channels, products with scalars and projections on other vectors acts on vectors, and
nothing mixes the nodes: a node's output does not depend on what else is in the batch.

References
----------
.. [1] Kilgour, Rogal, Tuckerman, "Multi-type point cloud autoencoder: a complete
   equivariant embedding for molecule conformation and pose" (2024).
.. [2] Deng et al., "Vector neurons: a general framework for SO(3)-equivariant
   networks", ICCV 2021.
"""

import torch
from torch import Tensor, nn

#: Lengths far below this count as zero; keeps directions smooth at the origin.
SHORT = 1e-3


def lengths(v: Tensor) -> Tensor:
    """Smooth lengths of vectors: (n, 3, channels) to (n, 1, channels).

    Examples
    --------
    >>> lengths(torch.tensor([[[3.0], [4.0], [0.0]]])).round(decimals=3)
    tensor([[[5.]]])
    """
    # not torch.linalg.vector_norm, which is fifty times slower along this axis
    return ((v * v).sum(1, keepdim=True) + SHORT**2).sqrt()


def normalised(v: Tensor) -> Tensor:
    """Scale the vectors of every node to a root mean square length of 1.

    Directions and the ratios of lengths stay. A node without vectors stays so.
    """
    norm = torch.linalg.vector_norm(v, dim=(1, 2), keepdim=True)
    return v * (norm.square() / v.shape[2] + SHORT**2).rsqrt()


class Scalariser(nn.Module):
    """Invariants of a set of vectors: their lengths and their angles with three axes.

    1. vectors are reduced to a quarter of the channels;
    2. three internal axes are learned mixtures of the directions;
    3. direction cosines with lengths, then a linear layer.

    Parameters
    ----------
    channels : int
        Channels of the vectors, a multiple of 4.
    n_out : int
        Scalars.

    Examples
    --------
    >>> Scalariser(8, 5)(torch.randn(2, 3, 8)).shape
    torch.Size([2, 5])
    """

    def __init__(self, channels: int, n_out: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, channels // 4, bias=False)
        self.axes = nn.Linear(channels // 4, 3, bias=False)
        self.mix = nn.Linear(channels, n_out)

    def forward(self, v: Tensor) -> Tensor:
        """Map vectors (n, 3, channels) to (n, n_out)."""
        few = self.reduce(v)  # (n, 3, channels / 4)
        length = lengths(few)
        direction = few / length
        axes = self.axes(direction).unsqueeze(3)  # (n, 3, 3, 1)
        angles = (axes * direction.unsqueeze(2)).sum(1)  # (n, 3, channels / 4)
        return self.mix(torch.cat([angles, length], 1).flatten(1))


class VectorActivation(nn.Module):
    """A nonlinearity along a learned direction: v + (gelu(p) - p) k, p = v . k.

    Parameters
    ----------
    channels : int
        Channels of the vectors.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 2 * channels, bias=False)

    def forward(self, v: Tensor) -> Tensor:
        """Mix vectors (n, 3, channels) and pass them through."""
        mixed, axis = self.linear(v).chunk(2, 2)
        length = lengths(axis)
        p = (mixed * axis).sum(1, keepdim=True) / length  # (n, 1, channels)
        return torch.addcmul(mixed, (nn.functional.gelu(p) - p) / length, axis)


class EMLPLayer(nn.Module):
    """A residual layer of scalars and vectors.

    1. s' = s + gelu(norm(W (s + S(v))))
    2. v' = v + gelu(norm(W s')) vact(W norm(v))

    Parameters
    ----------
    channels : int
        Of scalars and of vectors, a multiple of 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scalarise = Scalariser(channels, channels)
        self.mix = nn.Sequential(
            nn.Linear(channels, channels), nn.LayerNorm(channels), nn.GELU()
        )
        self.gate = nn.Sequential(
            nn.Linear(channels, channels), nn.LayerNorm(channels), nn.GELU()
        )
        self.activate = VectorActivation(channels)

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Update scalars (n, channels) and vectors (n, 3, channels)."""
        s = s + self.mix(s + self.scalarise(v))
        update = self.activate(normalised(v))
        return s, torch.addcmul(v, self.gate(s).unsqueeze(1), update)


class EMLP(nn.Module):
    """Layers of scalars and vectors, one after the other.

    Parameters
    ----------
    channels : int
        Of scalars and of vectors, a multiple of 4.
    depth : int
        Layers.
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EMLPLayer(channels) for _ in range(depth))

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Update scalars (n, channels) and vectors (n, 3, channels)."""
        for layer in self.layers:
            s, v = layer(s, v)
        return s, v


class AugmentedSoftmax(nn.Module):
    """Sum the vectors of every graph, weighted towards some of them.

    g_k = sum_i (softmax_i(beta_k |v_ik| + l_ik) + b_k) v_ik for given logits l, and
    learned beta and b.

    Parameters
    ----------
    channels : int
        Channels of the vectors.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(channels))
        self.offset = nn.Parameter(torch.zeros(channels))

    def forward(self, v: Tensor, logits: Tensor, batch: Tensor, ptr: Tensor) -> Tensor:
        """Sum vectors (n_nodes, 3, channels) to (n_graphs, 3, channels).

        Parameters
        ----------
        v
            The vectors.
        logits
            (n_nodes, channels).
        batch, ptr
            Graph of each node; first node of each graph, and the end.
        """
        logits = self.beta * lengths(v).squeeze(1) + logits
        top = torch.segment_reduce(logits.detach(), "max", offsets=ptr)
        weights = (logits - top[batch]).exp()
        total = torch.zeros_like(top).index_add(0, batch, weights)
        weights = weights / total[batch] + self.offset
        summed = v.new_zeros(len(ptr) - 1, *v.shape[1:])
        return summed.index_add(0, batch, weights.unsqueeze(1) * v)
