"""Symphony as published: every atom a node, positions on shells around the focus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from equicalc.models.embedders import EMBEDDERS, EmbedderShape
from equicalc.models.fields import check_one_each, freeze
from equicalc.nn.linear import DegreeLinear
from equicalc.nn.shells import ShellDensity

if TYPE_CHECKING:
    from equicalc.data.fragment_batch import FragmentBatch, Queries

__all__ = ["ShellPlacement", "SymphonyPaper", "SymphonyPaperConfig"]


@dataclass(frozen=True)
class SymphonyPaperConfig:
    """Shape of a `SymphonyPaper`; the defaults are published, but for `n_theta`.

    Attributes
    ----------
    elements : tuple of int
        Atomic numbers, ascending.
    start : tuple of float
        Frequency of every element as the first atom; by default always the first one,
        hydrogen.
    max_atoms : int
        Atoms of the largest molecule to make.
    cutoff : float
        Reach of a layer, Angstrom.
    focus_embedder, position_embedder : str
        Out of `EMBEDDERS`, see `equicalc.models.embedders`.
    focus_ls, focus_channels, focus_layers
        Size of the embedder for focus and species.
    position_ls, position_channels, position_layers
        Of the one for positions; its degrees are those of the density.
    n_radial : int
        Radial functions of both.
    densities : int
        Exponentials that are summed to the density of positions.
    shells, nearest, farthest
        Number of distances, the first and the last one, Angstrom.
    n_theta : int
        Rings of the angular grid; 180 in the publication, which also found a tenth
        of it to do.
    spread, sharpness : float
        Of the targets, see `ShellDensity`.
    noise : float
        Standard deviation of the noise on the positions that the model is trained
        to grow molecules from, Angstrom.
    """

    elements: tuple[int, ...] = (1, 6, 7, 8, 9)
    start: tuple[float, ...] = ()
    max_atoms: int = 35
    cutoff: float = 5.0
    focus_embedder: str = "e3schnet"
    focus_ls: tuple[int, ...] = (0, 1, 2)
    focus_channels: int = 64
    focus_layers: int = 3
    position_embedder: str = "nequip"
    position_ls: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    position_channels: int = 64
    position_layers: int = 3
    n_radial: int = 8
    densities: int = 2
    shells: int = 64
    nearest: float = 0.9
    farthest: float = 2.0
    n_theta: int = 18
    spread: float = 1e-5**0.5
    sharpness: float = 20.0
    noise: float = 0.05

    def __post_init__(self) -> None:
        freeze(self, "elements", "start", "focus_ls", "position_ls")
        if not self.start:
            others = (0.0,) * (len(self.elements) - 1)
            object.__setattr__(self, "start", (1.0, *others))
        n = len(self.elements)
        check_one_each(self.start, "start frequencies", n, "elements")
        for name in (self.focus_embedder, self.position_embedder):
            if name not in EMBEDDERS:
                raise ValueError(
                    f"unknown embedder {name!r}; choose from {', '.join(EMBEDDERS)}"
                )
        if not 0 < self.nearest < self.farthest or self.shells < 2:
            raise ValueError(
                f"{self.shells} shells from {self.nearest} to {self.farthest} "
                "Angstrom: give two or more, outwards"
            )

    @property
    def hydrogen_cutoff(self) -> float:
        """Hydrogens are nodes like all others, Angstrom."""
        return self.cutoff

    @property
    def hydrogen_share(self) -> float:
        """As many as of all others."""
        return 1.0

    @property
    def focus_shape(self) -> EmbedderShape:
        """Size of the embedder for focus and species."""
        return self._shape(self.focus_ls, self.focus_channels, self.focus_layers)

    @property
    def position_shape(self) -> EmbedderShape:
        """Size of the embedder for positions."""
        return self._shape(
            self.position_ls, self.position_channels, self.position_layers
        )

    def _shape(self, ls: tuple[int, ...], channels: int, layers: int) -> EmbedderShape:
        return EmbedderShape(
            self.elements, self.cutoff, ls, channels, layers, self.n_radial
        )


class Embedded(NamedTuple):
    """Features of the nodes, (n_nodes, sum 2l+1, channels), for the two questions."""

    focus: Tensor
    position: Tensor


@dataclass(frozen=True)
class ShellPlacement:
    """Densities of positions around foci.

    Attributes
    ----------
    coefficients : (n, n_shells, sum 2l+1, densities)
        Harmonics of the exponents.
    density
        What they mean.
    """

    coefficients: Tensor
    density: ShellDensity

    def log_prob(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(r), per Angstrom, and log p(u | r), per steradian, (n,) each."""
        return self.density.log_prob(self.coefficients, vectors)

    def sample(self, uniform: Tensor, temperature: float = 1.0) -> Tensor:
        """Return positions from the foci, (n, 3), for random numbers (n, 6)."""
        return self.density.sample(self.coefficients, uniform, temperature)

    def divergence(self, vectors: Tensor, row: Tensor) -> Tensor:
        """Return the divergence from smoothed targets (n_targets, 3), (n,)."""
        return self.density.divergence(self.coefficients, vectors, row)


class SymphonyPaper(nn.Module):
    """Focus, species and position of the next atom, as published.

    1. Two embedders look at all atoms of a fragment.
    2. A perceptron of every atom's scalars gives a logit per species for being the
       focus of a new atom of that species; stopping has the logit 0.
    3. The features of the focus, times an embedding of the species, give the harmonics
       of a density on shells.

    Parameters
    ----------
    config : SymphonyPaperConfig
        Shape of the network.
    backend : str
        Kernels, see `equicalc.models.Potential`.

    References
    ----------
    .. [1] Daigavane et al., "Symphony: symmetry-equivariant point-centered spherical
       harmonics for molecule generation", ICLR 2024.
    """

    hydrogens_apart = False

    def __init__(self, config: SymphonyPaperConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.cutoff = config.cutoff
        self.elements = config.elements
        C, ls = config.position_channels, config.position_ls
        n_elements = len(config.elements)
        self.focus = EMBEDDERS[config.focus_embedder](config.focus_shape, backend)
        self.position = EMBEDDERS[config.position_embedder](
            config.position_shape, backend
        )
        width = config.focus_channels
        self.logits = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, n_elements)
        )
        self.species = nn.Parameter(torch.randn(n_elements, C))
        n_out = config.shells * config.densities
        self.readout = DegreeLinear(ls, [C] * len(ls), [n_out] * len(ls))
        self.density = ShellDensity(
            ls,
            config.shells,
            config.nearest,
            config.farthest,
            n_theta=config.n_theta,
            spread=config.spread,
            sharpness=config.sharpness,
            backend=backend,
        )

    def embed(self, batch: FragmentBatch) -> Embedded:
        """Return the features of all nodes."""
        return Embedded(self.focus(batch), self.position(batch))

    def focus_logits(self, h: Embedded, batch: FragmentBatch) -> Tensor:
        """Return logits, (n_pairs, n_elements); that of stopping is 0."""
        return self.logits(h.focus[batch.pair_node, 0])

    def place(self, h: Embedded, queries: Queries) -> ShellPlacement:
        """Return the densities of positions that queries ask for."""
        scale = self.species[queries.species].unsqueeze(1)
        features = h.position[queries.node] * scale
        rows = torch.cat(self.readout(features.flatten(1)), 1)  # (n, sum 2l+1, n_out)
        coefficients = rows.unflatten(2, (self.config.shells, -1)).transpose(1, 2)
        return ShellPlacement(coefficients, self.density)
