"""The perceptron on molecule and crystal parameters of published crystal embeddings.

For the comparison of embeddings only. Its energies depend on the choice of the cell and
of the origin; `LatticeEnergyPredictor` is what predicts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from .embeddings import in_standard_setting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from .crystal import MolecularCrystal
    from .embeddings import Embedding

__all__ = ["PaperNetwork", "molecule_inputs", "paper_inputs"]


class PaperNetwork(nn.Module):
    """Perceptron with layer norm, dropout and skips; inputs are standardised.

    Parameters
    ----------
    inputs : (n_crystals, n_inputs)
        Of the training set, whose mean and spread are kept.
    width, depth
        The published one is 512 wide and 32 deep.
    dropout
        Share of the channels that is left out in training.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self, inputs: Tensor, width: int = 512, depth: int = 32, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.register_buffer("mean", inputs.mean(0))
        self.register_buffer("spread", inputs.std(0).clamp(min=1e-6))
        self.first = nn.Linear(inputs.shape[1], width)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.GELU(),
                nn.Dropout(dropout),
            )
            for _ in range(depth)
        )
        self.last = nn.Linear(width, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Energies (n_crystals,), in the unit of the labels."""
        x = self.first((inputs - self.mean) / self.spread)
        for layer in self.layers:
            x = x + layer(x)
        return self.last(x).squeeze(1)


def molecule_inputs(
    molecules: Sequence[Atoms], embedding: Embedding
) -> NDArray[np.float64]:
    """Numbers (n, m + 3 k) of posed molecules: scalars, then vectors."""
    vectors = embedding.encode(molecules).reshape(len(molecules), -1)
    return np.concatenate([embedding.scalars(molecules), vectors], axis=1)


def paper_inputs(
    crystals: Sequence[MolecularCrystal], embeddings: Sequence[Embedding]
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Describe crystals with one independent molecule for the perceptron.

    Returns
    -------
    molecules
        `molecule_inputs` with each embedding, of the molecules as they are posed in the
        standard setting.
    parameters : (n, 12)
        See `MolecularCrystal.parameters`.
    """
    _, molecules, parameters = in_standard_setting(crystals)
    inputs = [molecule_inputs(molecules, embedding) for embedding in embeddings]
    return inputs, parameters


def as_tensor(values: NDArray[np.float64]) -> Tensor:
    """Single precision, as the network computes."""
    return torch.as_tensor(values, dtype=torch.float32)
