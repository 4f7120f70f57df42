"""An autoencoder whose embedding of a molecule rotates with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch_geometric.data import Data

from equicalc.models.cloud import Cloud, point_cloud
from equicalc.models.encoder import Encoder
from equicalc.models.swarm import DECODERS, Swarm
from equicalc.nn.vectors import Scalariser


@dataclass(frozen=True)
class Mo3ENetConfig:
    """Shape of a `Mo3ENet`; everything needed to build it again.

    Attributes
    ----------
    elements : tuple of int
        Atomic numbers, ascending. Without 1, hydrogens are left out of all molecules.
    radius : float
        Length that positions are divided by: the largest distance of an atom from the
        centroid in the training set, Angstrom.
    cutoff : float
        Reach of a message, Angstrom.
    basis : str
        Radial functions: "gaussian" or "bessel".
    n_radial : int
        How many.
    avg_neighbors : float
        Mean number of neighbours, normalises sums of messages.
    bottleneck : int
        Vectors of the embedding; a multiple of 4.
    channels : int
        Scalars, and vectors, of an atom; a multiple of 4.
    layers : int
        Convolutions.
    messages : int
        Channels of a message.
    depth : int
        Layers on the atoms before each convolution and after the last.
    decoder : str
        "mlp", or "gnn": points exchange messages.
    decoder_channels : int
        Scalars, and vectors, of the decoder (of each of its points, if "gnn"); a
        multiple of 4.
    decoder_depth : int
        Its layers.
    points : int
        Points of the swarm; more than the largest molecule has atoms.
    noise : float
        Standard deviation of the noise on positions in training, Angstrom.
    stretch : float
        Standard deviation of the factor on all positions of a molecule in training.
    sigma : float
        Width of the Gaussians at the start of the training, Angstrom.
    """

    elements: tuple[int, ...] = (1, 6, 7, 8, 9)
    radius: float = 6.0
    cutoff: float = 3.0
    basis: Literal["gaussian", "bessel"] = "gaussian"
    n_radial: int = 50
    avg_neighbors: float = 9.0
    bottleneck: int = 64
    channels: int = 64
    layers: int = 2
    messages: int = 32
    depth: int = 1
    decoder: Literal["mlp", "gnn"] = "mlp"
    decoder_channels: int = 256
    decoder_depth: int = 4
    points: int = 40
    noise: float = 0.05
    stretch: float = 0.03
    sigma: float = 2.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", tuple(self.elements))
        if not self.elements or list(self.elements) != sorted(set(self.elements)):
            raise ValueError(
                f"elements must be distinct atomic numbers in ascending order, "
                f"got {self.elements}"
            )
        for name in ("bottleneck", "channels", "decoder_channels"):
            if getattr(self, name) < 4 or getattr(self, name) % 4:
                raise ValueError(f"{name} = {getattr(self, name)}; a multiple of 4")


class Mo3ENet(nn.Module):
    """Molecules to vectors that rotate with them, and back to atoms.

    Types, conformation and pose of a molecule of any size go into a fixed number of
    vectors g: rotated, reflected or inverted molecules have rotated, reflected or
    inverted vectors, exactly. An embedding depends on nothing else in the batch.

    What a symmetry of the molecule turns around cancels in the sum over its atoms:
    benzene's embedding is zero, and an atom alone has none. Noise of a hundredth of an
    Angstrom lifts it, see `equicalc.models.reconstruction`.

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
        self.encoder = Encoder(
            len(config.elements),
            radius=config.radius,
            cutoff=config.cutoff,
            basis=config.basis,
            n_radial=config.n_radial,
            avg_neighbors=config.avg_neighbors,
            channels=config.channels,
            messages=config.messages,
            layers=config.layers,
            depth=config.depth,
            n_out=config.bottleneck,
            backend=backend,
        )
        self.invariants = Scalariser(config.bottleneck, config.bottleneck)
        self.decoder = DECODERS[config.decoder](
            config.bottleneck,
            config.decoder_channels,
            config.decoder_depth,
            config.points,
            len(config.elements),
        )

    def cloud(self, graph: Data) -> Cloud:
        """Return the atoms that the model sees, centred; see `point_cloud`."""
        dtype = self.encoder.atoms.vectors.dtype
        return point_cloud(graph, self.elements, dtype)

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
        positions, logits = self.decoder(self.invariants(g), g)
        return Swarm(
            positions * self.config.radius,
            logits[..., :-1].softmax(2),
            logits[..., -1].softmax(1),
        )
