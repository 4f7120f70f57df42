"""The perceptron on molecule and crystal parameters of published crystal embeddings.

For the comparison of embeddings only. Its energies depend on the choice of the cell and
of the origin; `LatticeEnergyPredictor` is what predicts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from .embeddings import Embedding, embed_crystals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .crystal import MolecularCrystal

__all__ = ["PaperNetwork", "paper_inputs"]


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


def paper_inputs(
    crystals: Sequence[MolecularCrystal], embedding: Embedding
) -> NDArray[np.float64]:
    """Numbers of the posed molecule and the 12 parameters (n, m + 3 k + 12)."""
    found = embed_crystals(crystals, embedding)
    parts = [found["scalars"], found["vectors"].reshape(len(crystals), -1)]
    return np.concatenate([*parts, found["parameters"]], axis=1)


def as_tensor(values: NDArray[np.float64]) -> Tensor:
    """Single precision, as the network computes."""
    return torch.as_tensor(values, dtype=torch.float32)
