"""Properties of molecules from the embedding of a frozen encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from equicalc.models.cloud import Cloud, point_cloud
from equicalc.models.encoder import Encoder
from equicalc.models.fields import freeze
from equicalc.models.mo3enet import Mo3ENet
from equicalc.models.mo3enet_config import Mo3ENetConfig
from equicalc.nn.tensors import Rank2Output, Rank3Output, VectorOutput
from equicalc.nn.vectors import EMLP, Scalariser

if TYPE_CHECKING:
    from torch_geometric.data import Data

#: Kind of property -> its shape beside the molecules; a scalar head has many.
SHAPES = {"scalar": (), "vector": (3,), "rank2": (3, 3), "rank3": (3, 3, 3)}


@dataclass(frozen=True)
class HeadConfig:
    """Shape of a `Head`; everything needed to build it again.

    Attributes
    ----------
    encoder : Mo3ENetConfig
        The autoencoder whose encoder is used.
    kind : str
        "scalar", "vector", "rank2" or "rank3": how the property turns.
    targets : tuple of str
        Names of the properties: any number of scalars, or one tensor.
    channels : int
        Scalars, and vectors, of a layer; a multiple of 4.
    depth : int
        Layers.
    terms : int
        Products in the sum of a tensor of rank 2 or 3.
    references : tuple of tuple of float
        For every scalar, what an atom of each element adds to it; in its unit.
    scale : tuple of float
        Of what is left, for every target; in its unit.
    """

    encoder: Mo3ENetConfig = field(default_factory=Mo3ENetConfig)
    kind: Literal["scalar", "vector", "rank2", "rank3"] = "scalar"
    targets: tuple[str, ...] = ()
    channels: int = 256
    depth: int = 4
    terms: int = 32
    references: tuple[tuple[float, ...], ...] = ()
    scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.encoder, Mapping):
            object.__setattr__(self, "encoder", Mo3ENetConfig(**self.encoder))
        freeze(self, "targets", "scale")
        object.__setattr__(self, "references", tuple(map(tuple, self.references)))
        if self.kind != "scalar" and len(self.targets) > 1:
            raise ValueError(
                f"targets {self.targets}: a head of kind {self.kind!r} has one; train "
                "one head for each"
            )


class Head(nn.Module):
    """A property of molecules: an encoder that does not learn, and layers that do.

    1. g, the embedding; scalars and vectors made of it;
    2. layers of scalars and vectors;
    3. the property: scalars, a vector, or a symmetric tensor of rank 2 or 3.

    Tensors turn with the molecule, and do not depend on where it is.

    Parameters
    ----------
    config : HeadConfig
        Shape of the network.
    backend : str
        Kernels, see `equicalc.models.Potential`.
    """

    def __init__(self, config: HeadConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.cutoff = config.encoder.cutoff
        self.elements = config.encoder.elements
        C, n = config.channels, config.encoder.bottleneck
        self.encoder = Encoder(config.encoder, backend).requires_grad_(False)
        self.scalars = Scalariser(n, C)
        self.vectors = nn.Linear(n, C, bias=False)
        self.layers = EMLP(C, config.depth)
        outputs = {
            "scalar": lambda: nn.Linear(C, max(len(config.targets), 1)),
            "vector": lambda: VectorOutput(C),
            "rank2": lambda: Rank2Output(C, config.terms),
            "rank3": lambda: Rank3Output(C, config.terms),
        }
        self.output = outputs[config.kind]()

    def take_encoder(self, autoencoder: Mo3ENet) -> None:
        """Copy the encoder of a trained autoencoder.

        Raises
        ------
        ValueError
            If it has another shape.
        """
        if autoencoder.config != self.config.encoder:
            raise ValueError(
                f"the autoencoder is {autoencoder.config}, but this head asks for "
                f"{self.config.encoder}: leave `encoder` out of `model`"
            )
        self.encoder.load_state_dict(autoencoder.encoder.state_dict())

    def cloud(self, graph: Data) -> Cloud:
        """Return the atoms that the encoder sees, centred; see `point_cloud`."""
        return point_cloud(graph, self.elements, self.encoder.dtype)

    def from_embedding(self, g: Tensor) -> Tensor:
        """Return the property in units of `scale`, references left out.

        Parameters
        ----------
        g : (n_graphs, 3, bottleneck)
            Embeddings.

        Returns
        -------
        (n_graphs, n_targets), or (n_graphs, 3), (n_graphs, 3, 3), (n_graphs, 3, 3, 3)
        """
        s, v = self.layers(self.scalars(g), self.vectors(g))
        return self.output(s) if self.config.kind == "scalar" else self.output(s, v)

    def forward(self, graph: Data | Cloud) -> Tensor:
        """Return the property of molecules, in the units of its training data.

        Parameters
        ----------
        graph
            A batch, see `equicalc.graph` (edges are not read), or its cloud.

        Returns
        -------
        Tensor
            Shaped as `from_embedding`, float64.
        """
        cloud = graph if isinstance(graph, Cloud) else self.cloud(graph)
        reduced = self.from_embedding(self.encoder(cloud)).double()
        if self.config.kind != "scalar":
            return reduced * (self.config.scale or (1.0,))[0]
        scale = reduced.new_tensor(self.config.scale or [1.0] * reduced.shape[1])
        if not self.config.references:
            return reduced * scale
        each = reduced.new_tensor(self.config.references).T  # (n_elements, n_targets)
        base = torch.zeros_like(reduced).index_add(0, cloud.batch, each[cloud.species])
        return reduced * scale + base
