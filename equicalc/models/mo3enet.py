"""An autoencoder whose embedding of a molecule rotates with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from equicalc.models.cloud import Cloud, point_cloud
from equicalc.models.encoder import Encoder
from equicalc.models.mo3enet_config import Mo3ENetConfig
from equicalc.models.slots import SlotPoints
from equicalc.models.swarm import DECODERS, Swarm
from equicalc.nn.vectors import Scalariser

if TYPE_CHECKING:
    from torch_geometric.data import Data


class Mo3ENet(nn.Module):
    """Molecules to vectors that rotate with them, and back to atoms.

    Types, conformation and pose of a molecule of any size go into a fixed number of
    vectors g: rotated, reflected or inverted molecules have rotated, reflected or
    inverted vectors, exactly. An embedding depends on nothing else in the batch.

    What a symmetry of the molecule turns around cancels in the sum over its atoms:
    benzene's embedding is zero, and an atom alone has none. Noise of a hundredth of an
    Angstrom lifts it, see `equicalc.models.reconstruction`. With slots, the embedding
    is continuous, but steep where two atoms of an element swap their order from the
    centroid.

    Parameters
    ----------
    config : Mo3ENetConfig
        Shape of the network.
    backend : str
        Kernels, see `equicalc.models.Potential`.

    References
    ----------
    .. [1] Kilgour, Rogal, Tuckerman, "Multi-type point cloud autoencoder: a complete
       equivariant embedding for molecule conformation and pose" (2024).

    Examples
    --------
    >>> from equicalc.graph import make_graph
    >>> water = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]
    >>> model = Mo3ENet(Mo3ENetConfig(bottleneck=8))
    >>> model.encode(make_graph([8, 1, 1], water, cutoff=3.0)).shape
    torch.Size([1, 3, 8])
    """

    def __init__(self, config: Mo3ENetConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.cutoff = config.cutoff
        self.elements = config.elements
        self.encoder = Encoder(config, backend)
        self.invariants = Scalariser(config.bottleneck, config.bottleneck)
        self.decoder = DECODERS[config.decoder](config)
        self.slots = SlotPoints(config.bottleneck, config.points, config.slot_table)

    def cloud(self, graph: Data) -> Cloud:
        """Return the atoms that the model sees, centred; see `point_cloud`."""
        return point_cloud(graph, self.elements, self.encoder.dtype)

    def encode(self, graph: Data | Cloud) -> Tensor:
        """Embed molecules.

        Parameters
        ----------
        graph
            A batch, see `equicalc.graph` (its edges are not read), or its cloud.

        Returns
        -------
        (n_graphs, 3, bottleneck)
            Vectors without unit; of R x they are R g.

        Raises
        ------
        ValueError
            If an element is unknown.
        """
        return self.encoder(graph if isinstance(graph, Cloud) else self.cloud(graph))

    def scalars(self, g: Tensor) -> Tensor:
        """Return invariants of embeddings, (n_graphs, bottleneck)."""
        return self.invariants(g)

    def decode(self, g: Tensor) -> Swarm:
        """Turn embeddings (n_graphs, 3, bottleneck) into points around the origin."""
        decoded, directly = self.decoder(self.invariants(g), g), self.slots(g)
        positions, logits = (a + b for a, b in zip(decoded, directly))
        return Swarm(
            positions * self.config.radius,
            logits[..., :-1].softmax(2),
            logits[..., -1].softmax(1),
        )
