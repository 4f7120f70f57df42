"""What networks that predict properties of molecules have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from equicalc.graph import edge_vectors
from equicalc.kernels import SphericalHarmonics
from equicalc.kernels.convolution import Adjacency
from equicalc.models.fields import check_elements, check_one_each, freeze
from equicalc.nn.irreps import natural_irreps, to_irreps
from equicalc.nn.property_output import PropertyOutput, VectorScale
from equicalc.nn.species import SpeciesIndex

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True)
class TargetConfig:
    """What a network predicts, and the constants beside its weights.

    Attributes
    ----------
    elements : tuple of int
        Atomic numbers the model knows, ascending.
    targets : tuple of str
        Names of the properties.
    references : tuple of tuple of float
        Of every target, the free atom's value of every element, in the target's unit;
        zeros if empty.
    means, scales : tuple of float
        Of every target; zeros and ones if empty.
    per_atom : bool
        Whether the means are those of an atom or of a molecule.
    kind : str
        How the targets turn: ``"scalar"``, ``"vector"``, or ``"atom vector"`` for one
        of every atom. Vectors are mixtures of the features of degree 1.
    """

    elements: tuple[int, ...]
    targets: tuple[str, ...] = ("U0",)
    references: tuple[tuple[float, ...], ...] = ()
    means: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    per_atom: bool = True
    kind: Literal["scalar", "vector", "atom vector"] = "scalar"

    def __post_init__(self) -> None:
        freeze(self, "elements", "targets", "means", "scales")
        object.__setattr__(self, "references", tuple(map(tuple, self.references)))
        check_elements(self.elements)
        if not self.targets:
            raise ValueError("targets are empty: name at least one property")
        for name in ("references", "means", "scales"):
            check_one_each(getattr(self, name), name, len(self.targets), "targets")
        if self.kind != "scalar" and (self.references or self.means):
            raise ValueError(
                f"targets {self.targets} are vectors, which turn: leave out references "
                "and means"
            )

    @property
    def degree(self) -> int:
        """Degree of the features that the targets are read from."""
        return 0 if self.kind == "scalar" else 1

    def output(self) -> PropertyOutput | VectorScale:
        """Return the layer that shifts and scales."""
        n = len(self.targets)
        if self.kind != "scalar":
            return VectorScale(self.scales or [1.0] * n)
        return PropertyOutput(
            self.references or [[0.0] * len(self.elements)] * n,
            self.means or [0.0] * n,
            self.scales or [1.0] * n,
            self.per_atom,
        )


class Surroundings(NamedTuple):
    """What every layer reads of atoms and edges.

    Attributes
    ----------
    species : Tensor
        (n_atoms,) indices of the elements.
    harmonics : Tensor
        (n_edges, sum 2l+1).
    basis : Tensor
        (n_edges, n_radial).
    adjacency : Adjacency
        Who sends to whom.
    """

    species: Tensor
    harmonics: Tensor
    basis: Tensor
    adjacency: Adjacency


class PropertyNetwork(nn.Module, ABC):
    """Features of atoms by message passing, and properties of molecules from them.

    A network defines `atom_features` and `contributions`, its ``layers``, each of
    which returns one tensor for every degree, and in which part of it are the weights
    that belong to the targets, ``target_part``.

    Parameters
    ----------
    config : TargetConfig
        Shape of the network.
    ls, channels : sequence of int
        Degrees of the features, and the channels of each.
    harmonics : SphericalHarmonics
        Of the edges.
    basis : nn.Module
        Radial basis.

    Attributes
    ----------
    cutoff : float
        How far edges go, Angstrom.
    irreps_features : str
        Irreps of `node_features`, for instance ``"32x0e + 32x1o"``. The parity is
        that of the harmonics, (-1)^l.
    """

    target_part: str

    def __init__(
        self,
        config: TargetConfig,
        ls: Sequence[int],
        channels: Sequence[int],
        harmonics: SphericalHarmonics,
        basis: nn.Module,
    ) -> None:
        super().__init__()
        if config.degree not in ls:
            raise ValueError(
                f"{', '.join(config.targets)} is read from features of degree 1, and "
                f"this network has the degrees {list(ls)}: give it some (ls, or "
                "multiplicities)"
            )
        self.config = config
        self.elements = config.elements
        self.cutoff: float = basis.reach  # pyright: ignore[reportAttributeAccessIssue]
        self.irreps_features = natural_irreps(ls, channels)
        self.layers = nn.ModuleList()
        self.species = SpeciesIndex(config.elements)
        self.harmonics, self.basis = harmonics, basis
        self.degrees = tuple(ls)
        self.output = config.output()

    @abstractmethod
    def atom_features(self, around: Surroundings) -> list[Tensor]:
        """Return (n_atoms, 2l+1, channels) of every degree."""

    @abstractmethod
    def contributions(self, features: list[Tensor], around: Surroundings) -> Tensor:
        """Return what atoms contribute to the targets.

        Shaped (n_atoms, n_targets), or (n_atoms, 3, n_targets) for vectors.
        """

    def forward(
        self, graph: Data, vectors: Tensor | None = None
    ) -> Mapping[str, Tensor]:
        """Evaluate a batch, given as to `Potential.forward`.

        Returns
        -------
        dict
            ``values`` (n_graphs, n_targets) float64, in the targets' units, for
            vectors (n_graphs, 3, n_targets) or (n_atoms, 3, n_targets);
            ``embedding`` (n_atoms, channels), the invariant features; if U0 is among
            the targets, ``energies`` (n_atoms,), what atoms add to it, eV.
        """
        around = self.surroundings(graph, vectors)
        features = self.atom_features(around)
        atoms = self.output(
            self.contributions(features, around), around.species, graph["batch"]
        )
        values = atoms
        if self.config.kind != "atom vector":
            empty = atoms.new_zeros(len(graph["ptr"]) - 1, *atoms.shape[1:])
            values = empty.index_add(0, graph["batch"], atoms)
        out = {
            "values": values,
            "embedding": features[self.degrees.index(0)].squeeze(1),
        }
        if "U0" in self.config.targets:
            out["energies"] = atoms[:, self.config.targets.index("U0")]
        return out

    def node_features(self, graph: Data) -> Tensor:
        """Return the features of atoms, (n_atoms, dim), as `irreps_features` says."""
        return to_irreps(self.atom_features(self.surroundings(graph)))

    def surroundings(self, graph: Data, vectors: Tensor | None = None) -> Surroundings:
        """Return what all layers read of a batch."""
        if vectors is None:
            vectors = edge_vectors(graph)
        vectors = vectors.to(next(self.parameters()).dtype)
        src, dst = graph["edge_index"]
        species = self.species(graph["z"])
        return Surroundings(
            species,
            self.harmonics(vectors),
            self.basis(torch.linalg.vector_norm(vectors, dim=1)),
            Adjacency.from_edges(src, dst, len(species)),
        )
