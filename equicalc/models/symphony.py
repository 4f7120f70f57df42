"""Autoregressive model of molecules: what comes next, at which atom, and where."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equicalc.data.fragment_batch import FragmentBatch, Queries
from equicalc.kernels import SphericalHarmonics
from equicalc.kernels.convolution import Adjacency, UVUConvolution
from equicalc.models.embedders import EmbedderShape, Interactions
from equicalc.models.fields import check_one_each, freeze
from equicalc.models.placement import Placement, PlacementHead
from equicalc.nn.linear import DegreeLinear
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
        Rings of the cells that the angular density is integrated over at first.
    noise : float
        Standard deviation of the noise on the positions that the model is trained
        to grow molecules from, Angstrom.
    hydrogen_share : float
        How many of the fragments with hydrogens the model is trained on: to add them
        is easy, and they are half of all fragments.
    heavy_counts, hydrogen_counts : int
        Largest numbers of heavy atoms and of hydrogens that are told apart: the
        largest ones of the training set, so that what has grown beyond them ends as
        they do.
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
    hydrogen_share: float = 1.0
    heavy_counts: int = 9
    hydrogen_counts: int = 20

    def __post_init__(self) -> None:
        freeze(self, "elements", "start", "ls", "radial_hidden", "position_ls")
        if self.elements[:1] != (1,) or len(self.elements) < 2:
            raise ValueError(
                f"elements must begin with 1 and name another, got {self.elements}: "
                "hydrogens are attached to heavy atoms"
            )
        n = len(self.elements)
        check_one_each(self.start, "start frequencies", n, "elements")

    @property
    def trunk(self) -> EmbedderShape:
        """Size of the message passing."""
        return EmbedderShape(
            self.elements,
            self.cutoff,
            self.ls,
            self.channels,
            self.layers,
            self.n_radial,
            self.radial_hidden,
        )


class Symphony(Interactions):
    """Focus, species and position of the next atom of fragments.

    1. Message passing among the heavy atoms of a fragment, which know how many they
       are: what is local cannot tell when a molecule is large enough.
    2. Every heavy atom, with the hydrogens around it and the number of all of them,
       gives a logit per species for being the focus of a new atom of that species;
       stopping has the logit 0.
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
        super().__init__(config.trunk, backend, config.avg_neighbors)
        self.config = config
        self.cutoff = config.cutoff
        self.elements = config.elements
        n_counts = config.heavy_counts + 1
        self.heavy_count = nn.Parameter(torch.zeros(n_counts, config.channels))
        self.focus = FocusHead(config, backend)
        self.placement = PlacementHead(
            config.ls,
            config.channels,
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

    def start(self, batch: FragmentBatch) -> tuple[Tensor, Tensor, Tensor, Adjacency]:
        """Return what the first layer sees: species and number of the heavy atoms."""
        h, distance, harmonics, adj = super().start(batch)
        count = batch.skeleton_size.clamp(max=self.config.heavy_counts)
        return h + self.heavy_count[count].unsqueeze(1), distance, harmonics, adj

    def embed(self, batch: FragmentBatch) -> Tensor:
        """Return the features of all skeletons, (n_nodes, sum 2l+1, channels)."""
        return self(batch)

    def focus_logits(self, h: Tensor, batch: FragmentBatch) -> Tensor:
        """Return logits, (n_pairs, n_elements); that of stopping is 0."""
        return self.focus(h, batch)

    def place(self, h: Tensor, queries: Queries) -> Placement:
        """Return the densities of positions that queries ask for."""
        return self.placement(h, queries)


class FocusHead(nn.Module):
    """Logits of focus and species from a heavy atom and the hydrogens around it.

    1. f = linear(h) + sum_H W(r) Y(r)
    2. a perceptron of the scalars of h, of the norms of f, and of the number of
       hydrogens of the fragment

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
        self.hydrogen_counts = config.hydrogen_counts
        self.hydrogen_count = nn.Parameter(torch.zeros(config.hydrogen_counts + 1, C))
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
        n_hydrogen = batch.n_hydrogen[batch.pair_fragment]
        count = self.hydrogen_count[n_hydrogen.clamp(max=self.hydrogen_counts)]
        invariants = [h[batch.pair_node, 0] + count, scalars.squeeze(1), *norms]
        return self.logits(torch.cat(invariants, 1))
