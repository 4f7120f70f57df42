"""Message passing of scalars and Cartesian vectors."""

import torch
from torch import Tensor, nn

from equicalc.kernels.convolution import Adjacency, UVUConvolution
from equicalc.nn.vectors import normalised


class VectorConvolution(nn.Module):
    """Messages from neighbours, of scalars and of vectors.

    1. m_ij = gelu(norm(W2 s_i + W3 s_j + W4 e_ij))
    2. s_i' = s_i + W1 sum_j c_ij m_ij
    3. v_i' = v_i + W1 sum_j c_ij (W m_ij) (W2 v_i + W3 v_j), v normalised

    e_ij describes the distance, c_ij goes to zero at the cutoff; both parts do.

    Parameters
    ----------
    channels : int
        Of scalars and of vectors.
    messages : int
        Channels of the messages.
    n_radial : int
        Radial functions.
    scale : float
        Factor of the sums over neighbours.
    backend : str
        Kernel of the convolution, see `UVUConvolution`.
    """

    def __init__(
        self,
        channels: int,
        messages: int,
        n_radial: int,
        scale: float,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.scale = scale
        self.convolution = UVUConvolution((1,), (0,), (1,), backend=backend)
        self.scalars = nn.Linear(channels, 2 * messages)
        self.vectors = nn.Linear(channels, 2 * messages, bias=False)
        self.radial = nn.Linear(n_radial, messages, bias=False)
        self.message = nn.Sequential(nn.LayerNorm(messages), nn.GELU())
        self.filters = nn.Linear(messages, messages)
        self.scalars_out = nn.Linear(messages, channels)
        self.vectors_out = nn.Linear(messages, channels, bias=False)

    def forward(
        self, s: Tensor, v: Tensor, adj: Adjacency, basis: Tensor, envelope: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update scalars (n, channels) and vectors (n, 3, channels).

        Parameters
        ----------
        s, v
            Features of the nodes.
        adj
            Edges.
        basis
            (n_edges, n_radial), functions of the distance.
        envelope
            (n_edges,), weights of the neighbours.
        """
        own, other = self.scalars(s).chunk(2, 1)
        own_v, other_v = self.vectors(normalised(v)).chunk(2, 2)
        # 1. messages
        message = self.message(
            own.index_select(0, adj.dst)
            + other.index_select(0, adj.src)
            + self.radial(basis)
        )
        weight = (envelope * self.scale).unsqueeze(1)  # (n_edges, 1)
        # 2. scalars
        summed = torch.zeros_like(own).index_add(0, adj.dst, weight * message)
        s = s + self.scalars_out(summed)
        # 3. vectors; the centre's own one is the same for all its neighbours
        filters = weight * self.filters(message)  # (n_edges, messages)
        total = torch.zeros_like(own).index_add(0, adj.dst, filters)
        ones = torch.ones_like(weight)
        received = self.convolution(
            other_v.contiguous(), ones, filters.unsqueeze(1), adj
        )
        received = torch.addcmul(received, total.unsqueeze(1), own_v)
        return s, v + self.vectors_out(received)
