"""Equivariant message-passing potential after NequIP, for any set of degrees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from equicalc.graph import edge_vectors
from equicalc.kernels import SphericalHarmonics
from equicalc.kernels.convolution import Adjacency, UVUConvolution
from equicalc.models.fields import check_elements, check_one_each, freeze
from equicalc.nn.gate import InvariantGate
from equicalc.nn.linear import DegreeLinear
from equicalc.nn.radial import BesselBasis, RadialFilter
from equicalc.nn.repulsion import ZBLRepulsion
from equicalc.nn.species import SpeciesIndex

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True)
class PotentialConfig:
    """Shape of a `Potential`; everything needed to build it again.

    Attributes
    ----------
    elements : tuple of int
        Atomic numbers the model knows, ascending.
    cutoff : float
        Interaction radius of one layer, Angstrom.
    ls : tuple of int
        Degrees of the features and of the edge harmonics, starting with 0.
    channels : int
        Channels of every degree; multiples of 16 are fastest.
    layers : int
        Message-passing layers.
    n_radial : int
        Bessel functions.
    radial_hidden : tuple of int
        Hidden widths of the radial perceptron; empty for filters linear in the basis.
    avg_neighbors : float
        Mean number of neighbours in the training set, normalises message sums.
    energy_scale : float
        Unit of the network's energy output, eV.
    reference_energies : tuple of float
        Energy of the isolated atom of every element, eV; zeros if empty.
    dipole : bool
        Also predict atomic charges and the dipole moment.
    repulsion : bool
        Add the screened nuclear repulsion.
    gate_widths : tuple of int
        Hidden width of the gate of every layer; if empty, channels times degrees. A
        network that lost degrees keeps the widths it was trained with.
    """

    elements: tuple[int, ...]
    cutoff: float = 5.0
    ls: tuple[int, ...] = (0, 1, 2)
    channels: int = 32
    layers: int = 3
    n_radial: int = 8
    radial_hidden: tuple[int, ...] = ()
    avg_neighbors: float = 15.0
    energy_scale: float = 1.0
    reference_energies: tuple[float, ...] = ()
    dipole: bool = True
    repulsion: bool = True
    gate_widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        freeze(self, "elements", "ls", "radial_hidden")
        freeze(self, "reference_energies", "gate_widths")
        check_elements(self.elements)
        if not self.ls or self.ls[0] != 0 or list(self.ls) != sorted(set(self.ls)):
            raise ValueError(
                f"ls must be ascending degrees that start with 0, got {self.ls}: the "
                "energy is read from the scalars"
            )
        if self.dipole and 1 not in self.ls:
            raise ValueError(
                f"a dipole needs vector features: add 1 to ls {self.ls} or set "
                "dipole=False"
            )
        energies, n = self.reference_energies, len(self.elements)
        check_one_each(energies, "reference energies", n, "elements")
        check_one_each(self.gate_widths, "gate widths", self.layers, "layers")


class InteractionLayer(nn.Module):
    """Message passing, self-interaction and gate.

    1. x'_j = linear(h_j)
    2. m_i = sum_j W(|r_ij|) (x'_j x Y(r_ij)) / sqrt(avg_neighbors)
    3. h_i <- gate(linear(m_i) + linear(s_z h_i))
    """

    def __init__(
        self,
        config: PotentialConfig,
        ls_in: tuple[int, ...],
        ls_out: tuple[int, ...],
        backend: str,
        gate_width: int | None = None,
    ) -> None:
        super().__init__()
        C = config.channels
        self.ls_in = ls_in
        self.scale = config.avg_neighbors**-0.5
        self.kept = [ls_in.index(l) for l in ls_out if l in ls_in]
        self.targets = [i for i, l in enumerate(ls_out) if l in ls_in]
        self.convolution = UVUConvolution(ls_in, config.ls, ls_out, backend=backend)
        self.filters = RadialFilter(
            config.n_radial, config.radial_hidden, self.convolution.n_paths * C
        )
        channels = [C] * len(ls_in)
        self.before = DegreeLinear(ls_in, channels, channels)
        n_paths = self.convolution.paths_per_degree
        self.after = DegreeLinear(ls_out, [n * C for n in n_paths], [C] * len(ls_out))
        kept_ls = [ls_in[k] for k in self.kept]
        kept_channels = [C] * len(kept_ls)
        self.species_scale = nn.Parameter(
            torch.ones(len(config.elements), len(kept_ls), C)
        )
        self.self_interaction = DegreeLinear(kept_ls, kept_channels, kept_channels)
        self.gate = InvariantGate(ls_out, C, gate_width)

    def forward(
        self,
        h: Tensor,
        species: Tensor,
        harmonics: Tensor,
        basis: Tensor,
        adj: Adjacency,
    ) -> Tensor:
        """Update node features (n_nodes, sum 2l+1, channels) of `ls_in` to `ls_out`."""
        # 1. linear
        x = torch.cat(self.before(h.flatten(1)), 1)
        # 2. messages
        hidden, matrix = self.filters.hidden(basis), self.filters.matrix
        messages = self.convolution(x, harmonics, hidden, adj, matrix) * self.scale
        # 3. self-interaction and gate
        new = self.after(messages.flatten(1))
        rows = h.split([2 * l + 1 for l in self.ls_in], 1)
        scale = self.species_scale[species].unbind(1)  # (n_nodes, channels) each
        kept = [rows[k] * s.unsqueeze(1) for k, s in zip(self.kept, scale)]
        own = self.self_interaction(torch.cat([k.flatten(1) for k in kept], 1))
        for target, value in zip(self.targets, own):
            new[target] = new[target] + value
        return self.gate(new)


class Potential(nn.Module):
    """Energy, atomic charges and dipole of a batch of structures.

    The energy of an atom is measured from the same atom alone in space, so that an
    isolated atom has exactly its reference energy whatever the weights are.

    Parameters
    ----------
    config : PotentialConfig
        Shape of the network.
    backend : str
        Kernels for spherical harmonics and convolutions: ``"auto"``, ``"cpp"``,
        ``"torch"`` or ``"triton"``. The state dict does not depend on it.

    References
    ----------
    .. [1] Batzner et al., "E(3)-equivariant graph neural networks for data-efficient
       and accurate interatomic potentials", Nat. Commun. 13, 2453 (2022).
    """

    def __init__(self, config: PotentialConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.cutoff = config.cutoff
        self.elements = config.elements
        C, ls = config.channels, config.ls
        self.species = SpeciesIndex(config.elements)
        self.embedding = nn.Parameter(torch.randn(len(config.elements), C))
        self.harmonics = SphericalHarmonics(
            list(ls), normalize=True, normalization="component", backend=backend
        )
        self.basis = BesselBasis(config.cutoff, config.n_radial)
        last = (0, 1) if config.dipole else (0,)
        inputs = [(0,), *[ls] * (config.layers - 1)]
        outputs = [*[ls] * (config.layers - 1), last]
        widths = config.gate_widths or (None,) * config.layers
        self.layers = nn.ModuleList(
            InteractionLayer(config, ls_in, ls_out, backend, width)
            for ls_in, ls_out, width in zip(inputs, outputs, widths)
        )
        self.energy_head = nn.Sequential(
            nn.Linear(C, C), nn.SiLU(), nn.Linear(C, 1, bias=False)
        )
        if config.dipole:
            self.charge_head = nn.Linear(C, 1, bias=False)
            self.vector_head = nn.Linear(C, 1, bias=False)
        self.repulsion = ZBLRepulsion(config.elements) if config.repulsion else None

    def forward(
        self, graph: Data, vectors: Tensor | None = None
    ) -> Mapping[str, Tensor]:
        """Evaluate a batch.

        Parameters
        ----------
        graph : Data
            See `equicalc.graph`.
        vectors : Tensor, optional
            (n_edges, 3) edge vectors, Angstrom, if already computed (to
            differentiate with respect to them).

        Returns
        -------
        dict
            ``energies`` (n_atoms,) float64, eV; ``embedding`` (n_atoms, channels),
            the invariant features; with ``config.dipole`` also ``charges`` (n_atoms,)
            in e, adding up to zero in every structure, and ``dipole`` (n_graphs, 3)
            in e Angstrom.
        """
        if vectors is None:
            vectors = edge_vectors(graph)
        vectors = vectors.to(self.embedding.dtype)
        src, dst = graph["edge_index"]
        species = self.species(graph["z"])
        n_nodes = len(species) + len(self.elements)
        adj = Adjacency.from_edges(src, dst, n_nodes)
        return self.outputs(graph, vectors, species, adj)

    def outputs(
        self,
        graph: Data | Mapping[str, Tensor],
        vectors: Tensor,
        species: Tensor,
        adj: Adjacency,
        references: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Evaluate a batch whose elements are known and whose edges are sorted.

        The operations depend on no value and no size, so that they can be traced.
        Given references, they also read nothing of the host's memory.

        Parameters
        ----------
        graph : Data or mapping
            ``edge_index``, ``batch`` and ``ptr``, see `equicalc.graph`.
        vectors : Tensor
            (n_edges, 3), Angstrom, in the model's precision.
        species : Tensor
            (n_atoms,) indices of the elements.
        adj : Adjacency
            Of the atoms, and after them one atom of every element alone.
        references : Tensor, optional
            (n_elements,) float64, eV, of the atoms alone; see `references`.

        Returns
        -------
        dict
            See `forward`.
        """
        # 1. edges
        distance = torch.linalg.vector_norm(vectors, dim=1)  # (n_edges,)
        harmonics = self.harmonics(vectors)  # (n_edges, sum 2l+1)
        basis = self.basis(distance)  # (n_edges, n_radial)
        # 2. nodes: the atoms, and after them one atom of every element alone
        n_atoms, n_elements = species.shape[0], len(self.elements)
        nodes = torch.cat([species, torch.arange(n_elements, device=species.device)])
        h = self.embedding[nodes].unsqueeze(1)  # (n_nodes, 1, channels)
        for layer in self.layers:
            h = layer(h, nodes, harmonics, basis, adj)
        scalars = h[:n_atoms, 0]  # (n_atoms, channels)
        # 3. energy of every atom above that of the atom alone
        network = self.energy_head(h[:, 0]).squeeze(1)  # (n_nodes,)
        energies = network[:n_atoms] - network[n_atoms:][species]
        references = self.references() if references is None else references
        energies = references[species] + self.config.energy_scale * energies.double()
        if self.repulsion is not None:
            energies = (
                energies + self.repulsion(distance, species, adj.src, adj.dst).double()
            )
        out = {"energies": energies, "embedding": scalars}
        if self.config.dipole:
            moments = self.vector_head(h[:n_atoms, 1:4]).squeeze(2)  # (n_atoms, 3)
            out |= self.electrostatics(scalars, moments, basis[:, 0], vectors, graph)
        return out

    def references(self) -> Tensor:
        """Return the energies of the isolated atoms, (n_elements,) float64, eV.

        Made anew, in double precision, for casting a model would round a buffer.
        """
        energies = self.config.reference_energies or (0.0,) * len(self.elements)
        device = self.embedding.device
        return torch.tensor(energies, dtype=torch.float64, device=device)

    def electrostatics(
        self,
        scalars: Tensor,
        moments: Tensor,
        decay: Tensor,
        vectors: Tensor,
        graph: Data | Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Charges that neighbours exchange, and the dipole of charges and moments.

        What atom j gives, atom i receives: neutral by construction, and as local as
        the energy. The dipole of the transfers needs edge vectors only, so it does
        not depend on the origin. How much is given falls off with the distance like
        `decay` (n_edges,), the first radial function.
        """
        src, dst = graph["edge_index"]
        potential = self.charge_head(scalars).squeeze(1)  # (n_atoms,)
        transfer = decay * (potential[src] - potential[dst])  # (n_edges,)
        charges = torch.zeros_like(potential).index_add(0, dst, transfer)
        pairs = -0.5 * transfer.unsqueeze(1) * vectors  # each pair occurs twice
        moments = moments.index_add(0, dst, pairs)
        dipole = moments.new_zeros(graph["ptr"].shape[0] - 1, 3)
        return {
            "charges": charges,
            "dipole": dipole.index_add(0, graph["batch"], moments),
        }
