"""Autoregressive model of molecules: what comes next, at which atom, and where."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equicalc.data.fragment_batch import FragmentBatch, Queries
from equicalc.kernels import SphericalHarmonics
from equicalc.kernels.convolution import Adjacency, UVUConvolution
from equicalc.models.placement import Placement, PlacementHead
from equicalc.models.potential import InteractionLayer, PotentialConfig
from equicalc.nn.linear import DegreeLinear
from equicalc.nn.norm import EquivariantNorm
from equicalc.nn.radial import BesselBasis, RadialFilter


@dataclass(frozen=True)
class SymphonyConfig:
    """Shape of a `Symphony`; everything needed to build it again.

    Attributes
    ----------
    elements : tuple of int
        Atomic numbers, hydrogen first, ascending.
    start : tuple of float
        Frequency of every element as the first atom, 0 for hydrogen; if empty, all
        others alike.
    max_atoms : int
        Atoms of the largest molecule to make.
    cutoff : float
        Reach of a layer among heavy atoms, and of the focus, Angstrom.
    hydrogen_cutoff : float
        Reach of a possible focus to hydrogens, Angstrom.
    ls : tuple of int
        Degrees of the features.
    channels : int
        Channels of every degree.
    layers : int
        Message-passing layers.
    n_radial : int
        Bessel functions.
    radial_hidden : tuple of int
        Hidden widths of all radial perceptrons; empty for filters linear in the basis.
    avg_neighbors : float
        Mean number of neighbours, normalises message sums.
    position_ls : tuple of int
        Degrees of the density of positions.
    position_channels : int
        Feature channels of the placement.
    densities : int
        Exponentials that are summed to the angular density.
    components : int
        Terms of the radial mixture.
    n_theta : int
        Rings of the grid that normalises the angular density.
    noise : float
        Standard deviation of the noise on the positions that the model is trained
        to grow molecules from, Angstrom.
    """

    elements: tuple[int, ...] = (1, 6, 7, 8, 9)
    start: tuple[float, ...] = ()
    max_atoms: int = 35
    cutoff: float = 5.0
    hydrogen_cutoff: float = 4.0
    ls: tuple[int, ...] = (0, 1, 2)
    channels: int = 48
    layers: int = 3
    n_radial: int = 8
    radial_hidden: tuple[int, ...] = ()
    avg_neighbors: float = 5.0
    position_ls: tuple[int, ...] = (0, 1, 2, 3, 4)
    position_channels: int = 32
    densities: int = 4
    components: int = 12
    n_theta: int = 24
    noise: float = 0.02

    def __post_init__(self) -> None:
        for name in ("elements", "start", "ls", "radial_hidden", "position_ls"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.elements[:1] != (1,) or len(self.elements) < 2:
            raise ValueError(
                f"elements must begin with 1 and name another, got {self.elements}: "
                "hydrogens are attached to heavy atoms"
            )
        if len(self.start) not in (0, len(self.elements)):
            raise ValueError(
                f"{len(self.start)} start frequencies for {len(self.elements)} "
                "elements: give one each, or none"
            )

    @property
    def trunk(self) -> PotentialConfig:
        """Shape of the message-passing layers."""
        return PotentialConfig(
            elements=self.elements,
            cutoff=self.cutoff,
            ls=self.ls,
            channels=self.channels,
            layers=self.layers,
            n_radial=self.n_radial,
            radial_hidden=self.radial_hidden,
            avg_neighbors=self.avg_neighbors,
            dipole=False,
            repulsion=False,
        )


class Symphony(nn.Module):
    """Focus, species and position of the next atom of fragments.

    1. Message passing among the heavy atoms of a fragment.
    2. Every heavy atom, with the hydrogens around it, gives a logit per species for
       being the focus of a new atom of that species; stopping has the logit 0.
    3. The focus looks at all atoms around it and gives a density of positions.

    Hydrogens take part in 2 and 3 only, as senders: what they say follows from where
    they are.

    Parameters
    ----------
    config : SymphonyConfig
        Shape of the network.
    backend : str
        Kernels, see `equicalc.models.Potential`.

    References
    ----------
    .. [1] Daigavane et al., "Symphony: symmetry-equivariant point-centered spherical
       harmonics for molecule generation", ICLR 2024.
    """

    hydrogens_apart = True

    def __init__(self, config: SymphonyConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.cutoff = config.cutoff
        self.elements = config.elements
        C, ls = config.channels, config.ls
        self.embedding = nn.Parameter(torch.randn(len(config.elements), C))
        self.harmonics = SphericalHarmonics(
            list(ls), normalize=True, normalization="component", backend=backend
        )
        self.basis = BesselBasis(config.cutoff, config.n_radial)
        inputs = [(0,), *[ls] * (config.layers - 1)]
        self.layers = nn.ModuleList(
            InteractionLayer(config.trunk, ls_in, ls, backend) for ls_in in inputs
        )
        self.norm = EquivariantNorm(C)
        self.focus = FocusHead(config, backend)
        self.placement = PlacementHead(
            ls,
            C,
            ls_out=config.position_ls,
            channels=config.position_channels,
            n_species=len(config.elements),
            densities=config.densities,
            components=config.components,
            cutoff=config.cutoff,
            n_radial=config.n_radial,
            radial_hidden=config.radial_hidden,
            n_theta=config.n_theta,
            avg_neighbors=config.avg_neighbors,
            backend=backend,
        )

    def embed(self, batch: FragmentBatch) -> Tensor:
        """Return the features of all skeletons, (n_nodes, sum 2l+1, channels)."""
        src, dst = batch.edges
        distance = torch.linalg.vector_norm(batch.edge_vectors, dim=1)
        harmonics = self.harmonics(batch.edge_vectors)
        basis = self.basis(distance)
        adj = Adjacency.from_edges(src, dst, len(batch.species))
        h = self.embedding[batch.species].unsqueeze(1)  # (n_nodes, 1, channels)
        for layer in self.layers:
            h = layer(h, batch.species, harmonics, basis, adj)
        return self.norm(h)

    def focus_logits(self, h: Tensor, batch: FragmentBatch) -> Tensor:
        """Return logits, (n_pairs, n_elements); that of stopping is 0."""
        return self.focus(h, batch)

    def place(self, h: Tensor, queries: Queries) -> Placement:
        """Return the densities of positions that queries ask for."""
        return self.placement(h, queries)


class FocusHead(nn.Module):
    """Logits of focus and species from a heavy atom and the hydrogens around it.

    1. f = linear(h) + sum_H W(r) Y(r)
    2. a perceptron of the scalars of h, and of the norms of f

    Parameters
    ----------
    config : SymphonyConfig
        Shape of the network.
    backend : str
        Kernels.
    """

    def __init__(self, config: SymphonyConfig, backend: str) -> None:
        super().__init__()
        C, ls = config.channels, config.ls
        n = len(ls) * C
        self.ls = ls
        self.scale = config.avg_neighbors**-0.5
        self.harmonics = SphericalHarmonics(
            list(ls), normalize=True, normalization="component", backend=backend
        )
        self.basis = BesselBasis(config.hydrogen_cutoff, config.n_radial)
        self.own = DegreeLinear(ls, [C] * len(ls), [C] * len(ls))
        self.convolution = UVUConvolution((0,), ls, ls, backend=backend)
        self.filters = RadialFilter(config.n_radial, config.radial_hidden, n)
        self.logits = nn.Sequential(
            nn.Linear(n + C, n),
            nn.SiLU(),
            nn.Linear(n, C),
            nn.SiLU(),
            nn.Linear(C, len(config.elements)),
        )

    def forward(self, h: Tensor, batch: FragmentBatch) -> Tensor:
        """Map node features to (n_pairs, n_elements)."""
        own = torch.cat(self.own(h.flatten(1)), 1)
        # 1. hydrogens around
        distance = torch.linalg.vector_norm(batch.hydrogen_vectors, dim=1)
        weights = self.filters(self.basis(distance)).unflatten(1, (-1, h.shape[2]))
        harmonics = self.harmonics(batch.hydrogen_vectors)
        ones = h.new_ones(len(batch.pair_node), 1, h.shape[2])
        sender = torch.zeros_like(batch.hydrogen_pair)  # any row of ones will do
        adj = Adjacency.from_edges(sender, batch.hydrogen_pair, len(ones))
        messages = self.convolution(ones, harmonics, weights * self.scale, adj)
        f = own[batch.pair_node] + messages
        # 2. invariants
        scalars, *tensors = f.split([2 * l + 1 for l in self.ls], 1)
        norms = [x.square().mean(1) for x in tensors]
        invariants = [h[batch.pair_node, 0], scalars.squeeze(1), *norms]
        return self.logits(torch.cat(invariants, 1))
