"""Lattice energies of crystals in one space group, from numbers: a plain perceptron."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equicalc.models.fields import check_one_each, freeze

__all__ = ["LatticePaper", "LatticePaperConfig"]


@dataclass(frozen=True)
class LatticePaperConfig:
    """Shape of a `LatticePaper`; width, depth and dropout are published ones.

    Attributes
    ----------
    elements : tuple of int
        Atomic numbers the model knows, ascending.
    embedding : str
        Of the molecule, see `equicalc.crystals.embeddings.named_embedding`.
    spacegroup : int
        Of all crystals: their parameters do not tell it.
    means, scales : tuple of float
        Of the inputs: those that the embedding gives, and the 12 parameters.
    mean, scale : float
        Of the energies, eV per molecule.
    width, depth : int
        Of the perceptron.
    dropout : float
        Share of the channels that is left out in training.
    members : int
        Networks whose mean is the result and whose spread its uncertainty.
    """

    elements: tuple[int, ...]
    embedding: str = "mo3enet"
    spacegroup: int = 1
    means: tuple[float, ...] = (0.0,) * 12
    scales: tuple[float, ...] = (1.0,) * 12
    mean: float = 0.0
    scale: float = 1.0
    width: int = 512
    depth: int = 32
    dropout: float = 0.5
    members: int = 1

    def __post_init__(self) -> None:
        freeze(self, "elements", "means", "scales")
        check_one_each(self.scales, "scales", len(self.means), "means")
        for name, least, most in (
            ("width", 1, math.inf),
            ("depth", 0, math.inf),
            ("members", 1, math.inf),
            ("dropout", 0, 0.99),
            ("spacegroup", 1, 230),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"{name} = {getattr(self, name)}; give {least} to {most}"
                )


class LatticePaper(nn.Module):
    """Perceptrons on the parameters of crystals and an embedding of their molecule.

    As published [1]_. Energies depend on the choice of the cell and of the origin, and
    jump with them: it is there for comparison, `LatticeNetwork` for use.

    Parameters
    ----------
    config : LatticePaperConfig
        Shape of the network.
    backend : str
        Not used: the network has no kernels of its own.

    References
    ----------
    .. [1] M. Kilgour, J. Rogal, M. Tuckerman, "Multi-type point cloud autoencoder: a
       complete equivariant embedding for molecule conformation and pose" (2024).
    """

    means: Tensor
    scales: Tensor

    def __init__(self, config: LatticePaperConfig, backend: str = "auto") -> None:
        super().__init__()
        del backend
        self.config, self.elements = config, config.elements
        self.register_buffer("means", torch.tensor(config.means))
        self.register_buffer("scales", torch.tensor(config.scales))
        self.members = nn.ModuleList(
            Perceptron(len(config.means), config) for _ in range(config.members)
        )

    def forward(self, inputs: Tensor) -> Mapping[str, Tensor]:
        """Evaluate a batch of crystals.

        Parameters
        ----------
        inputs : (n_crystals, n_inputs)
            See `equicalc.crystals.paper.paper_inputs`.

        Returns
        -------
        dict
            ``interaction`` (n_crystals,), eV per molecule, the mean of the members,
            and ``members`` (n_members, n_crystals).
        """
        x = (inputs.to(self.means) - self.means) / self.scales
        each = torch.stack([one(x) for one in self.members])
        members = each * self.config.scale + self.config.mean
        return {"interaction": members.mean(0), "members": members}


class Perceptron(nn.Module):
    """Layers with layer norm, dropout and skips."""

    def __init__(self, n_inputs: int, config: LatticePaperConfig) -> None:
        super().__init__()
        width = config.width
        self.first = nn.Linear(n_inputs, width)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.GELU(),
                nn.Dropout(config.dropout),
            )
            for _ in range(config.depth)
        )
        self.last = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Energies (n,) in units of their spread."""
        x = self.first(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.last(x).squeeze(1)
