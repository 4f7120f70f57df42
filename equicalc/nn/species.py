"""From atomic numbers to the indices of a model's elements."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SpeciesIndex(nn.Module):
    """Map atomic numbers to indices into the elements of a model.

    Parameters
    ----------
    elements : sequence of int
        Atomic numbers that the model knows.

    Examples
    --------
    >>> SpeciesIndex([1, 6, 8])(torch.tensor([8, 1, 1]))
    tensor([2, 0, 0])
    """

    index: Tensor

    def __init__(self, elements: Sequence[int]) -> None:
        super().__init__()
        self.elements = tuple(elements)
        numbers = torch.tensor(self.elements)
        index = torch.full((int(numbers.max()) + 2,), -1)  # at both ends nothing
        index[numbers] = torch.arange(len(numbers))
        self.register_buffer("index", index, persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        """Map atomic numbers (n_atoms,).

        Raises
        ------
        ValueError
            If an element is unknown to the model; it names the elements.
        """
        species = self.index.index_select(0, z.clamp(0, len(self.index) - 1))
        if (species < 0).any():
            unknown = sorted(set(z[species < 0].tolist()))
            raise ValueError(
                f"atomic numbers {unknown} are unknown to this model, which was "
                f"trained on {list(self.elements)}: use a model that covers them"
            )
        return species
