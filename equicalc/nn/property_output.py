"""From what atoms contribute to properties of molecules, shifted and scaled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PropertyOutput(nn.Module):
    r"""Scale the contributions of atoms and add what is known beforehand.

    .. math::
        t_m = \sum_{a \in m} \left(\mathrm{ref}(Z_a) + \bar t + \sigma R_a\right)

    for every target, or with the mean counted once for each molecule, in equal shares
    for its atoms. Constants are kept in double precision, for the energies of molecules
    are large.

    Parameters
    ----------
    references : sequence of sequence of float
        Of every target: the free atom's value of every element.
    means, scales : sequence of float
        Of every target.
    per_atom : bool
        Whether the mean is that of an atom or of a molecule.

    References
    ----------
    .. [1] Schütt et al., "SchNetPack", J. Chem. Theory Comput. 15, 448 (2019).

    Examples
    --------
    >>> output = PropertyOutput([[-13.6, -100.0]], [1.0], [2.0])
    >>> species, molecule = torch.tensor([0, 0]), torch.tensor([0, 0])
    >>> output(torch.ones(2, 1), species, molecule).sum().item()
    -21.2
    """

    def __init__(
        self,
        references: Sequence[Sequence[float]],
        means: Sequence[float],
        scales: Sequence[float],
        per_atom: bool = True,
    ) -> None:
        super().__init__()
        self.references = [list(row) for row in references]
        self.means, self.scales = list(means), list(scales)
        self.per_atom = per_atom

    def forward(self, contributions: Tensor, species: Tensor, batch: Tensor) -> Tensor:
        """Shift and scale.

        Parameters
        ----------
        contributions : Tensor
            (n_atoms, n_targets).
        species : Tensor
            (n_atoms,) indices of the elements.
        batch : Tensor
            (n_atoms,) molecule of every atom.

        Returns
        -------
        Tensor
            (n_atoms, n_targets) float64, in the targets' units; the property of a
            molecule is the sum over its atoms.
        """
        # made here, in double precision, for casting a model would round a buffer
        references, means, scales = (
            torch.tensor(numbers, dtype=torch.float64, device=species.device)
            for numbers in (self.references, self.means, self.scales)
        )
        if not self.per_atom:
            means = means / torch.bincount(batch)[batch].unsqueeze(1)
        return references.T[species] + means + scales * contributions.double()


class VectorScale(nn.Module):
    """Scale what atoms contribute to vectors, in the place of `PropertyOutput`.

    Parameters
    ----------
    scales : sequence of float
        Of every target.
    """

    def __init__(self, scales: Sequence[float]) -> None:
        super().__init__()
        self.scales = list(scales)

    def forward(self, contributions: Tensor, species: Tensor, batch: Tensor) -> Tensor:
        """Scale (n_atoms, 3, n_targets); float64, in the targets' units."""
        wide = contributions.double()
        return wide * wide.new_tensor(self.scales)
