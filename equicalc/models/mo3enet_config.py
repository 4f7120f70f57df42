"""Shape of the autoencoder of molecules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from equicalc.models.fields import check_elements, freeze


@dataclass(frozen=True)
class Mo3ENetConfig:
    """Shape of a `Mo3ENet`; everything needed to build it again.

    Attributes
    ----------
    elements : tuple of int
        Atomic numbers, ascending. Without 1, hydrogens are left out of all molecules.
    radius : float
        Length that positions are divided by: the largest distance of an atom from the
        centroid in the training set, Angstrom.
    cutoff : float
        Reach of a message, Angstrom.
    basis : str
        Radial functions: "gaussian" or "bessel".
    n_radial : int
        How many.
    avg_neighbors : float
        Mean number of neighbours, normalises sums of messages.
    bottleneck : int
        Vectors of the embedding; a multiple of 4.
    slots : tuple of int
        How many vectors begin as single atoms of every element, see `slots`; at most
        `bottleneck` and `points` together. None, if empty.
    softness : float
        Difference of distances from the centroid within which two atoms of one
        element swap numbers, and their slots, Angstrom. Smaller: more molecules come
        back whole, and the embedding is steeper where two atoms swap.
    channels : int
        Scalars, and vectors, of an atom; a multiple of 4.
    layers : int
        Convolutions.
    messages : int
        Channels of a message.
    depth : int
        Layers on the atoms before each convolution and after the last.
    decoder : str
        "mlp", or "gnn": points exchange messages.
    decoder_channels : int
        Scalars, and vectors, of the decoder (of each of its points, if "gnn"); a
        multiple of 4.
    decoder_depth : int
        Its layers.
    points : int
        Points of the swarm; more than the largest molecule has atoms.
    noise : float
        Standard deviation of the noise on positions in training, Angstrom.
    stretch : float
        Standard deviation of the factor on all positions of a molecule in training.
    sigma : float
        Width of the Gaussians at the start of the training, Angstrom.
    """

    elements: tuple[int, ...] = (1, 6, 7, 8, 9)
    radius: float = 6.0
    cutoff: float = 3.0
    basis: Literal["gaussian", "bessel"] = "gaussian"
    n_radial: int = 50
    avg_neighbors: float = 9.0
    bottleneck: int = 64
    slots: tuple[int, ...] = ()
    softness: float = 0.003
    channels: int = 64
    layers: int = 2
    messages: int = 32
    depth: int = 1
    decoder: Literal["mlp", "gnn"] = "mlp"
    decoder_channels: int = 256
    decoder_depth: int = 4
    points: int = 40
    noise: float = 0.05
    stretch: float = 0.03
    sigma: float = 2.0

    def __post_init__(self) -> None:
        freeze(self, "elements", "slots")
        check_elements(self.elements)
        for name in ("bottleneck", "channels", "decoder_channels"):
            if getattr(self, name) < 4 or getattr(self, name) % 4:
                raise ValueError(f"{name} = {getattr(self, name)}; a multiple of 4")
        if not self.softness > 0:
            raise ValueError(f"softness = {self.softness}; a length above 0")
        most = min(self.bottleneck, self.points)
        if sum(self.slots) > most:
            raise ValueError(
                f"slots {self.slots}: together at most {most}, the smaller one of "
                "bottleneck and points"
            )

    @property
    def slot_table(self) -> tuple[int, ...]:
        """Slots of every element.

        Raises
        ------
        ValueError
            If there is not one number for each element.
        """
        if len(self.slots) not in (0, len(self.elements)):
            raise ValueError(
                f"slots {self.slots}: one number for each of the elements "
                f"{self.elements}, or none"
            )
        return self.slots or (0,) * len(self.elements)
