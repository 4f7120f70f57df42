"""Lattice energies of rigid molecules: a physical pair potential and what it misses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from equicalc.graph import molecule_edges
from equicalc.models.fields import freeze
from equicalc.models.image_sums import ImageSums, OverImages
from equicalc.models.lattice_graph import LatticeGraph
from equicalc.models.radial_sums import add_up
from equicalc.nn.radial import BesselBasis
from equicalc.nn.species import SpeciesIndex
from equicalc.units import COULOMB

CARBON = (3832.147, 3.60, 25.286949, 0.0)
FEW = 5.0  # neighbours within the cutoff; crystals have hundreds
START = {
    1: (124.07167, 3.74, 1.413698, 0.1),
    6: CARBON,
    7: (2638.0285, 3.78, 14.286224, -0.3),
    8: (2384.4658, 3.96, 11.645288, -0.3),
    9: (2384.4658, 3.96, 11.645288, -0.1),  # as oxygen
    16: (9583.59, 3.51, 80.2251, -0.1),  # as chlorine
    17: (9583.59, 3.51, 80.2251, -0.1),
}
"""A (eV), B (1/Angstrom), C (eV Angstrom^6) and charge (e) where training starts.

After D. E. Williams and coworkers, see `equicalc.crystals.ExpSix`.
"""
LIMITS = (1.5, 0.6, 1.5, 1.0)
"""How far a molecule can shift ln A / 2, B / 2, ln C / 2 and charge of its atoms."""


@dataclass(frozen=True)
class LatticeConfig:
    """Shape of a `LatticeNetwork`; everything needed to build it again.

    Attributes
    ----------
    elements : tuple of int
        Atomic numbers the model knows, ascending.
    cutoff : float
        Of the physical pair energies, Angstrom.
    reach : float
        Of the learned surroundings, Angstrom.
    bond_reach : float
        Within which atoms of a molecule see each other, Angstrom.
    channels, vectors : int
        Scalars and vectors that describe an atom in its molecule.
    rounds : int
        How often neighbours in a molecule exchange what they know.
    n_radial : int
        Bessel functions.
    hidden : int
        Width of the perceptrons.
    members : int
        Networks whose mean is the result and whose spread its uncertainty.
    limited : bool
        Whether what describes an atom keeps its size, and the numbers of the pair
        energies stay near those of their element, so that no energy explodes in a
        molecule unlike all that were learned.
    """

    elements: tuple[int, ...]
    cutoff: float = 9.0
    reach: float = 5.5
    bond_reach: float = 4.0
    channels: int = 32
    vectors: int = 8
    rounds: int = 2
    n_radial: int = 8
    hidden: int = 64
    members: int = 1
    limited: bool = False

    def __post_init__(self) -> None:
        freeze(self, "elements")
        if self.members < 1:
            raise ValueError(f"members = {self.members}; at least 1 is needed")
        if not self.reach <= self.cutoff:
            raise ValueError(
                f"reach {self.reach} is larger than the cutoff {self.cutoff}: pairs "
                "are listed up to the cutoff only"
            )


@dataclass
class Bonds:
    """Neighbours in molecules, all members' alike.

    Attributes
    ----------
    src, dst : (n_bonds,)
        Sites; both directions are listed.
    basis : (n_bonds, n_radial)
        Radial functions.
    direction : (n_bonds, 3)
        From dst to src.
    """

    src: Tensor
    dst: Tensor
    basis: Tensor
    direction: Tensor


class Sites(nn.Module):
    """Atoms in their molecule: scalars (n, channels) and vectors (n, vectors, 3).

    1. Neighbours in the molecule exchange scalars.
    2. Vectors are sums over the directions to neighbours.
    """

    def __init__(self, config: LatticeConfig) -> None:
        super().__init__()
        C, K = config.channels, config.vectors
        self.limited = config.limited
        self.embedding = nn.Parameter(torch.randn(len(config.elements), C))
        self.filters = nn.ModuleList(
            nn.Linear(config.n_radial, C, bias=False) for _ in range(config.rounds)
        )
        self.updates = nn.ModuleList(
            _perceptron(2 * C, config.hidden, C) for _ in range(config.rounds)
        )
        self.vector_filter = nn.Linear(config.n_radial, K, bias=False)
        self.vector_source = nn.Linear(C, K, bias=False)

    def forward(self, species: Tensor, bonds: Bonds) -> tuple[Tensor, Tensor]:
        """Describe all sites."""
        src, dst, basis = bonds.src, bonds.dst, bonds.basis
        # 1
        h = self.embedding[species]
        for filters, update in zip(self.filters, self.updates):
            message = add_up(filters(basis) * h.index_select(0, src), dst, len(h))
            h = h + update(torch.cat([h, message], 1))
            h = nn.functional.rms_norm(h, h.shape[1:]) if self.limited else h
        # 2
        sent = self.vector_source(h).index_select(0, src)
        strength = self.vector_filter(basis) * sent
        arrows = strength.unsqueeze(2) * bonds.direction.unsqueeze(1)
        return h, add_up(arrows, dst, len(h))


class PairPhysics(nn.Module):
    """Exp-6 and Coulomb energies; the atoms' numbers depend on their molecule.

    In crystals the Coulomb sum over the lattice is that of `DampedCoulomb`; without
    images it is the plain one. Charges of a molecule add up to zero. The lattice sum
    has damped energies of molecules with themselves too much, which are taken out; it
    counts on neutral surroundings and leaves molecules without neighbours alone. The
    rest fades towards the cutoff.
    """

    limits: Tensor | None

    def __init__(self, config: LatticeConfig) -> None:
        super().__init__()
        start = [
            [0.5 * math.log(a), 0.5 * b, 0.5 * math.log(c), q]
            for a, b, c, q in (START.get(z, CARBON) for z in config.elements)
        ]
        self.numbers = nn.Parameter(torch.tensor(start))
        self.shift = nn.Linear(config.channels, 4, bias=False)
        limits = torch.tensor(LIMITS) if config.limited else None
        self.register_buffer("limits", limits, persistent=False)
        nn.init.normal_(self.shift.weight, std=0.02)

    def forward(
        self, species: Tensor, h: Tensor, graph: LatticeGraph, sums: ImageSums
    ) -> Tensor:
        """Half of the energies of all pairs, by site (n_sites,), eV."""
        shift, limits = self.shift(h), self.limits
        if limits is not None:
            shift = limits * torch.tanh(shift / limits)
        log_a, b, log_c, q = (self.numbers[species] + shift).unbind(1)
        charge = q - _mean_of_molecule(q, graph)
        numbers = sums.places(torch.stack([log_a.exp(), b, log_c.exp(), charge], 1))
        seeing, seen = numbers[sums.blocks].unbind(0)  # (n_blocks, size, 4)
        products = (seen.unsqueeze(2) * seeing.unsqueeze(1)).unbind(3)
        steepness = seen[:, :, None, 1] + seeing[:, None, :, 1]
        exponent = steepness.flatten().index_select(0, sums.bins) * sums.distance
        overlap = torch.exp(-exponent) * sums.near
        repulsion = add_up(overlap, sums.bins, steepness.numel()).view_as(steepness)
        each = products[0] * repulsion - products[2] * sums.attraction
        each = each + COULOMB * products[3] * sums.inverse
        periodic = graph.periodic[graph.crystal[graph.molecule]]  # (n_sites,)
        packed = torch.where(periodic, -torch.expm1(-sums.neighbours / FEW), 0.0)
        charges = sums.places(charge.unsqueeze(1))
        potential = (sums.within @ charges).flatten()[sums.slots]
        within = 0.5 * COULOMB * charge * potential
        return 0.5 * sums.sites(each.sum(1)) + packed * within


class Surroundings(nn.Module):
    """Energy of an atom among the atoms of other molecules, beyond pairs.

    1. Each neighbour sends scalars, which know the direction in its own molecule, and
       a vector; both are linear in the sums over its images.
    2. The sums, measured against the atom's own vectors, give an energy, which is zero
       without neighbours.
    """

    def __init__(self, config: LatticeConfig) -> None:
        super().__init__()
        C, K = config.channels, config.vectors
        self.filter = nn.Linear(config.n_radial, C + K, bias=False)
        self.source = nn.Linear(C, C + K)
        self.direction = nn.Linear(K, C, bias=False)
        self.energy = _perceptron(2 * C + 2 * K, config.hidden, 1)
        nn.init.normal_(self.energy[-1].weight, std=1e-2)  # pyright: ignore[reportArgumentType]

    def forward(self, h: Tensor, u: Tensor, sums: ImageSums) -> Tensor:
        """Energies by site (n_sites,), eV."""
        C, K, S = h.shape[1], u.shape[1], sums.size
        scalar, vector = self.filter.weight.split([C, K])  # (C or K, n_radial)
        seen = sums.blocks[1]
        sent = sums.places(self.source(h)).index_select(0, seen)  # (n_blocks, S, C + K)
        arms = sums.places(u.transpose(1, 2)).index_select(0, seen)  # (n, S, 3, K)
        # 1
        scalars = (sums.waves.mT @ sent[..., :C]).unflatten(1, (S, -1))
        along = (sums.back.mT @ arms.flatten(1, 2)).view(len(seen), S, -1)
        turn = scalar.T.unsqueeze(1) * self.direction.weight.T  # (n_radial, K, C)
        around = (scalars * scalar.T).sum(2) + along @ turn.flatten(0, 1)
        arrows = (sums.towards.mT @ sent[..., C:]).unflatten(1, (3, S, -1))
        pull = (arrows * vector.T).sum(3).permute(0, 2, 3, 1)  # (n_blocks, S, K, 3)
        around, pull = sums.sites(around), sums.sites(pull)
        # 2
        measures = [around, (pull * u).sum(2), pull.square().sum(2)]
        first, rest = cast("nn.Linear", self.energy[0]), self.energy[1:]
        own, others = first.weight.split([C, 2 * K + C], 1)
        alone = nn.functional.linear(h, own, first.bias)
        among = alone + nn.functional.linear(torch.cat(measures, 1), others)
        return (rest(among) - rest(alone)).squeeze(1)


class LatticeMember(nn.Module):
    """One network: sites, pair physics and surroundings."""

    def __init__(self, config: LatticeConfig) -> None:
        super().__init__()
        self.sites = Sites(config)
        self.physics = PairPhysics(config)
        self.surroundings = Surroundings(config)

    def forward(
        self, species: Tensor, graph: LatticeGraph, bonds: Bonds, sums: ImageSums
    ) -> Tensor:
        """Energies by site (n_sites,), eV."""
        h, u = self.sites(species, bonds)
        pairs = self.physics(species, h, graph, sums)
        return pairs + self.surroundings(h, u, sums)


class LatticeNetwork(nn.Module):
    """Interaction of the rigid molecules of crystals.

    The energy is a sum over the atoms of the independent molecules. Their surroundings
    are the images that symmetry makes, so that it does not depend on the choice of
    cell, origin or supercell, and holds for any space group and any number of
    independent molecules. Vectors of a molecule are turned with its images.

    Parameters
    ----------
    config : LatticeConfig
        Shape of the network.
    backend : str
        Not used: the network has no kernels of its own.
    """

    def __init__(self, config: LatticeConfig, backend: str = "auto") -> None:
        super().__init__()
        del backend
        self.config = config
        self.cutoff, self.elements = config.cutoff, config.elements
        self.species = SpeciesIndex(config.elements)
        self.basis = BesselBasis(config.bond_reach, config.n_radial)
        self.over_images = OverImages(config.cutoff, config.reach, config.n_radial)
        self.members = nn.ModuleList(
            LatticeMember(config) for _ in range(config.members)
        )

    def forward(self, graph: LatticeGraph) -> Mapping[str, Tensor]:
        """Evaluate a batch of crystals.

        Parameters
        ----------
        graph : LatticeGraph
            With all pairs up to the cutoff.

        Returns
        -------
        dict
            ``interaction`` (n_crystals,), eV per molecule, the mean of the members,
            and ``members`` (n_members, n_crystals).

        Raises
        ------
        ValueError
            If an element is unknown.
        """
        dtype = next(self.parameters()).dtype
        graph = graph.to(dtype)
        species = self.species(graph.z)
        share = graph.weight[graph.molecule]
        owner = graph.crystal[graph.molecule]
        bonds, sums = self.bonds(graph.pos, _starts(graph)), self.over_images(graph)
        each = [one(species, graph, bonds, sums) for one in self.members]
        energies = torch.stack(each)
        zero = energies.new_zeros(len(energies), graph.n_crystals)
        members = zero.index_add(1, owner, energies * share)
        return {"interaction": members.mean(0), "members": members}

    def bonds(self, pos: Tensor, ptr: Tensor) -> Bonds:
        """List the neighbours of atoms in their molecules.

        Parameters
        ----------
        pos : (n_sites, 3), Angstrom
        ptr : (n_molecules + 1,)
            First site of each molecule, and the end.
        """
        src, dst = molecule_edges(pos, ptr, self.config.bond_reach)
        apart = pos[src] - pos[dst]
        distance = torch.linalg.vector_norm(apart, dim=1)
        return Bonds(src, dst, self.basis(distance), apart / distance.unsqueeze(1))


def _perceptron(n_in: int, hidden: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, hidden),
        nn.SiLU(),
        nn.Linear(hidden, hidden),
        nn.SiLU(),
        nn.Linear(hidden, n_out),
    )


def _starts(graph: LatticeGraph) -> Tensor:
    """First site of each molecule, and the end, (n_molecules + 1,)."""
    sizes = torch.bincount(graph.molecule)
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _mean_of_molecule(values: Tensor, graph: LatticeGraph) -> Tensor:
    """Mean over the molecule of each site."""
    n = len(graph.weight)
    sums = values.new_zeros(n).index_add(0, graph.molecule, values)
    counts = torch.bincount(graph.molecule, minlength=n)
    return (sums / counts)[graph.molecule]
