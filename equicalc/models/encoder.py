"""From the atoms of a molecule to vectors that rotate with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equicalc.graph import molecule_edges
from equicalc.kernels.convolution import Adjacency
from equicalc.models.cloud import Cloud
from equicalc.models.mo3enet_config import Mo3ENetConfig
from equicalc.models.slots import PLACES, SlotSum, addresses
from equicalc.nn.radial import BesselBasis, EnvelopedGaussians, polynomial_envelope
from equicalc.nn.vector_conv import VectorConvolution
from equicalc.nn.vectors import EMLP, lengths

#: Name in configurations -> radial functions.
BASES = {"gaussian": EnvelopedGaussians, "bessel": BesselBasis}


class AtomFeatures(nn.Module):
    """First scalars and vectors of the atoms.

    The scalars are made of element, distance from the centroid, and how many atoms of
    every element lie further inside: with these, atoms have addresses in a molecule of
    any size. The counts are smooth in the positions.

    Parameters
    ----------
    n_elements : int
        Elements.
    radius : float
        Largest distance from the centroid, Angstrom.
    channels : int
        Scalars, and vectors, of an atom.
    softness : float
        Of the counts, Angstrom.
    """

    N_RADIAL = 32
    N_SPECIES = 32

    def __init__(
        self, n_elements: int, radius: float, channels: int, softness: float
    ) -> None:
        super().__init__()
        self.n_elements = n_elements
        self.radius = radius
        self.softness = softness
        self.species = nn.Embedding(n_elements, self.N_SPECIES)
        self.radii = EnvelopedGaussians(2 * radius, self.N_RADIAL)
        n_in = self.N_SPECIES + self.N_RADIAL + n_elements + n_elements * PLACES
        self.scalars = nn.Linear(n_in, channels)
        self.vectors = nn.Parameter(torch.randn(channels))

    def forward(self, cloud: Cloud) -> tuple[Tensor, Tensor, Tensor]:
        """Describe atoms.

        Returns
        -------
        s : (n_atoms, channels)
            Scalars.
        v : (n_atoms, 3, channels)
            Vectors.
        address : (n_atoms, n_elements * PLACES)
            See `addresses`.
        """
        pos = cloud.pos.unsqueeze(2)  # (n_atoms, 3, 1)
        r = lengths(pos).flatten()
        counts = self.inside(cloud, r)  # (n_atoms, n_elements)
        own = counts.gather(1, cloud.species.unsqueeze(1)).squeeze(1)
        address = addresses(cloud.species, own, self.n_elements)
        parts = [self.species(cloud.species), self.radii(r), 0.2 * counts, address]
        s = self.scalars(torch.cat(parts, 1))
        return s, pos / self.radius * self.vectors, address

    def inside(self, cloud: Cloud, r: Tensor) -> Tensor:
        """Count atoms of every element nearer to the centroid, (n_atoms, n_elements).

        Parameters
        ----------
        cloud
            The molecules.
        r : (n_atoms,), Angstrom
            Distance of each atom from the centroid.
        """
        onehot = nn.functional.one_hot(cloud.species, self.n_elements).to(r.dtype)
        rows, types = cloud.padded(r), cloud.padded(onehot)
        further = (rows.unsqueeze(2) - rows.unsqueeze(1)) / self.softness
        counts = further.sigmoid() @ types - 0.5 * types  # itself counts one half
        return counts[cloud.batch, cloud.place]


class Encoder(nn.Module):
    """Message passing of scalars and vectors, and a weighted sum of the vectors.

    1. scalars and vectors of every atom;
    2. layers on the atoms, and messages among those within the cutoff, in turn;
    3. vectors are summed over the molecule.

    Parameters
    ----------
    config : Mo3ENetConfig
        Shape of the network.
    backend : str
        Kernels, see `equicalc.models.Potential`.
    """

    def __init__(self, config: Mo3ENetConfig, backend: str = "auto") -> None:
        super().__init__()
        C, n_radial = config.channels, config.n_radial
        scale = config.avg_neighbors**-0.5
        self.cutoff = config.cutoff
        self.atoms = AtomFeatures(
            len(config.elements), config.radius, C, config.softness
        )
        self.basis = BASES[config.basis](config.cutoff, n_radial)
        self.layers = nn.ModuleList(
            EMLP(C, config.depth) for _ in range(config.layers + 1)
        )
        self.convolutions = nn.ModuleList(
            VectorConvolution(C, config.messages, n_radial, scale, backend)
            for _ in range(config.layers)
        )
        self.radius = config.radius
        self.aggregate = SlotSum(C, config.bottleneck, config.slot_table)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.atoms.vectors.dtype

    def forward(self, cloud: Cloud) -> Tensor:
        """Encode molecules to (n_graphs, 3, bottleneck)."""
        # 1. atoms and edges
        s, v, address = self.atoms(cloud)
        src, dst = molecule_edges(cloud.pos, cloud.ptr, self.cutoff)
        adj = Adjacency.from_edges(src, dst, len(cloud.pos))
        away = cloud.pos.index_select(0, src) - cloud.pos.index_select(0, dst)
        distance = torch.linalg.vector_norm(away, dim=1)  # (n_edges,)
        basis = self.basis(distance)
        envelope = polynomial_envelope(distance / self.cutoff)
        # 2. layers
        for layer, convolution in zip(self.layers, self.convolutions):
            s, v = convolution(*layer(s, v), adj, basis, envelope)
        s, v = self.layers[-1](s, v)
        # 3. molecules
        r = cloud.pos.unsqueeze(2) / self.radius
        return self.aggregate((s, v, address), r, cloud.batch, cloud.ptr)
