"""Where an atom goes: a density of distances, and of directions at a distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from equicalc.kernels import SphericalHarmonics
from equicalc.kernels.convolution import Adjacency, UVUConvolution
from equicalc.nn.gate import InvariantGate
from equicalc.nn.linear import DegreeLinear
from equicalc.nn.log_mixture import LogNormalMixture
from equicalc.nn.norm import EquivariantNorm
from equicalc.nn.radial import BesselBasis, RadialFilter
from equicalc.nn.sphere import SphereDensity
from equicalc.nn.sphere_sampler import SphereSampler

if TYPE_CHECKING:
    from equicalc.data.fragment_batch import Queries

#: Distances from the focus that bonds have, Angstrom.
BONDS = (0.9, 2.0)


@dataclass(frozen=True)
class Placement:
    """Densities of positions around foci; p(x) = p(r) p(u | r) / r^2 with x = r u.

    Attributes
    ----------
    features : (n, sum 2l+1, channels)
        Features of the queries.
    radial : (n, 1, 3, n_components)
        See `LogNormalMixture`.
    head
        The network's part that knows the rest.
    """

    features: Tensor
    radial: Tensor
    head: PlacementHead

    def log_prob(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(r), per Angstrom, and log p(u | r), per steradian, (n,) each.

        Parameters
        ----------
        vectors : (n, 3), Angstrom
            Positions from the foci.
        """
        r = torch.linalg.vector_norm(vectors, dim=1)
        radial = self.head.mixture.log_prob(self.radial, r.unsqueeze(1)).squeeze(1)
        angular = self.head.sphere.log_prob(
            self.coefficients(r), vectors / r.unsqueeze(1)
        )
        return radial, angular

    def sample(self, uniform: Tensor, temperature: float = 1.0) -> Tensor:
        """Return positions from the foci, (n, 3) in Angstrom.

        Parameters
        ----------
        uniform : (n, 6)
            Random numbers in [0, 1).
        temperature
            Below 1, the terms that the densities are sums of are sharpened, and are
            drawn as often as before.
        """
        r = self.head.mixture.sample(self.radial, uniform[:, :2], temperature)
        u = self.head.sampler.sample(
            self.coefficients(r), uniform[:, 2:], temperature, by_term=True
        )
        return r.unsqueeze(1) * u

    def coefficients(self, r: Tensor) -> Tensor:
        """Return the harmonics of the angular densities at distances (n,).

        Returns
        -------
        Tensor
            (n, sum 2l+1, densities), see `SphereDensity`.
        """
        return self.head.coefficients(self.features, r)


class PlacementHead(nn.Module):
    """From node features to densities of positions around a focus.

    1. m = sum_j W(|r_j|) (linear(h_j) x Y(r_j)), over all atoms around the focus;
       of what they send, degrees 0 and 1
    2. q = gate(species * (linear(m) + linear(h_focus)))
    3. p(r) from the scalars of q
    4. p(u | r) from a linear map of q, after a factor per degree and channel that
       depends on r and on the scalars of q

    Parameters
    ----------
    ls, n_in
        Degrees and channels of the node features; the degrees begin `ls_out`.
    ls_out, channels
        Degrees and channels of the queries.
    n_species
        Number of species.
    densities
        Exponentials summed to the angular density.
    components
        Terms of the radial mixture.
    cutoff, n_radial
        Of the radial basis.
    radial_hidden
        Hidden widths of the radial perceptron.
    n_theta
        Rings of cells that angular densities are integrated over, see
        `SphereDensity`.
    avg_neighbors
        Mean number of atoms around a focus, normalises message sums.
    backend
        Kernels.
    """

    def __init__(
        self,
        ls: Sequence[int],
        n_in: int,
        *,
        ls_out: Sequence[int],
        channels: int,
        n_species: int,
        densities: int,
        components: int,
        cutoff: float,
        n_radial: int,
        radial_hidden: Sequence[int],
        n_theta: int,
        avg_neighbors: float,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        C, n_ls = channels, len(ls_out)
        self.ls_out = tuple(ls_out)
        self.scale = avg_neighbors**-0.5
        self.n_own = sum(2 * l + 1 for l in ls)
        self.harmonics = SphericalHarmonics(
            list(ls_out), normalize=True, normalization="component", backend=backend
        )
        self.basis = BesselBasis(cutoff, n_radial)
        senders = tuple(l for l in ls if l < 2)
        self.n_sent = sum(2 * l + 1 for l in senders)
        self.convolution = UVUConvolution(senders, ls_out, ls_out, backend=backend)
        self.filters = RadialFilter(
            n_radial, radial_hidden, self.convolution.n_paths * C
        )
        n_degrees = len(senders)
        self.before = DegreeLinear(senders, [n_in] * n_degrees, [C] * n_degrees)
        self.own = DegreeLinear(ls, [n_in] * len(ls), [C] * len(ls))
        self.hydrogen = nn.Parameter(torch.randn(C))
        n_paths = self.convolution.paths_per_degree
        self.after = DegreeLinear(ls_out, [n * C for n in n_paths], [C] * n_ls)
        self.species_scale = nn.Parameter(torch.ones(n_species, n_ls, C))
        self.species_shift = nn.Parameter(torch.randn(n_species, C))
        self.gate = InvariantGate(ls_out, C)
        self.norm = EquivariantNorm(C)
        self.mixture_input = nn.Sequential(nn.Linear(C, 2 * C), nn.SiLU())
        self.mixture = LogNormalMixture(2 * C, components, *BONDS)
        self.factors = nn.Sequential(
            nn.Linear(C + n_radial, 2 * C), nn.SiLU(), nn.Linear(2 * C, n_ls * C)
        )
        self.readout = DegreeLinear(ls_out, [C] * n_ls, [densities] * n_ls)
        self.sphere = SphereDensity(ls_out, n_theta, backend=backend)
        self.sampler = SphereSampler(self.sphere.cells)

    def forward(self, h: Tensor, queries: Queries) -> Placement:
        """Return the densities for node features (n_nodes, sum 2l+1, n_in)."""
        features = self._features(h, queries)
        scalars = self.mixture_input(features[:, 0])
        return Placement(features, self.mixture(scalars), self)

    def _features(self, h: Tensor, queries: Queries) -> Tensor:
        # 1. messages; rows: nodes, all hydrogens, and as many as there are queries
        x = torch.cat(self.before(h[:, : self.n_sent].flatten(1)), 1)
        n_rows = max(len(x) + 1, len(queries.node))
        rows = x.new_zeros(n_rows - len(x), *x.shape[1:])
        rows[0, 0] = self.hydrogen
        src, dst = queries.edges
        adj = Adjacency.from_edges(src, dst, n_rows)
        distance = torch.linalg.vector_norm(queries.edge_vectors, dim=1)
        weights = self.filters(self.basis(distance)).unflatten(1, (-1, x.shape[2]))
        harmonics = self.harmonics(queries.edge_vectors)
        messages = self.convolution(torch.cat([x, rows]), harmonics, weights, adj)
        messages = messages[: len(queries.node)] * self.scale
        # 2. queries
        q = torch.cat(self.after(messages.flatten(1)), 1)
        own = torch.cat(self.own(h[queries.node].flatten(1)), 1)
        q = torch.cat([q[:, : self.n_own] + own, q[:, self.n_own :]], 1)
        scale = self.species_scale[queries.species].unbind(1)
        degrees = q.split([2 * l + 1 for l in self.ls_out], 1)
        scaled = [x * s.unsqueeze(1) for x, s in zip(degrees, scale)]
        scaled[0] = scaled[0] + self.species_shift[queries.species].unsqueeze(1)
        return self.norm(self.gate(scaled))

    def coefficients(self, features: Tensor, r: Tensor) -> Tensor:
        """Return the harmonics of the angular densities at distances (n,)."""
        scalars = torch.cat([features[:, 0], self.basis(r)], 1)
        factors = self.factors(scalars).unflatten(1, (len(self.ls_out), -1)).unbind(1)
        degrees = features.split([2 * l + 1 for l in self.ls_out], 1)
        scaled = [x * (1 + f.unsqueeze(1)) for x, f in zip(degrees, factors)]
        return torch.cat(self.readout(torch.cat(scaled, 1).flatten(1)), 1)
