"""Screened nuclear repulsion, which keeps atoms from fusing."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equicalc.nn.radial import polynomial_envelope
from equicalc.units import BOHR, COULOMB

#: Covalent radii of Cordero et al. 2008, Angstrom, by atomic number from hydrogen on.
COVALENT_RADII = (
    *(0.31, 0.28),
    *(1.28, 0.96, 0.84, 0.76, 0.71, 0.66, 0.57, 0.58),
    *(1.66, 1.41, 1.21, 1.11, 1.07, 1.05, 1.02, 1.06),
    *(2.03, 1.76, 1.70, 1.60, 1.53, 1.39, 1.39, 1.32, 1.26, 1.24, 1.32, 1.22),
    *(1.22, 1.20, 1.19, 1.20, 1.20, 1.16),
    *(2.20, 1.95, 1.90, 1.75, 1.64, 1.54, 1.47, 1.46, 1.42, 1.39, 1.45, 1.44),
    *(1.42, 1.39, 1.39, 1.38, 1.39, 1.40),
)


class ZBLRepulsion(nn.Module):
    """Ziegler-Biersack-Littmark potential of atom pairs at less than bonding distance.

    It is switched off smoothly at `reach` times the sum of the covalent radii, so
    that it never touches an equilibrium bond.

    Parameters
    ----------
    elements : sequence of int
        Atomic numbers, up to xenon, in the order of the species index.
    reach : float
        End of the potential in units of the sum of covalent radii.

    References
    ----------
    .. [1] Ziegler, Biersack, Littmark, "The stopping and range of ions in matter",
       1985. Screening function with four exponentials.
    """

    reach: Tensor
    charge: Tensor
    screening: Tensor
    amplitudes: Tensor
    decays: Tensor

    def __init__(self, elements: Sequence[int], reach: float = 0.8) -> None:
        super().__init__()
        if max(elements) > len(COVALENT_RADII):
            raise ValueError(
                f"no covalent radius for atomic number {max(elements)}: the repulsion "
                f"knows elements 1 to {len(COVALENT_RADII)}; build the model with "
                "repulsion=False"
            )
        radii = torch.tensor([COVALENT_RADII[z - 1] for z in elements])
        charges = torch.tensor(elements, dtype=torch.get_default_dtype())
        screening = 0.8854 * BOHR / (charges**0.23 + charges[:, None] ** 0.23)
        self.register_buffer("reach", reach * (radii + radii[:, None]), False)
        self.register_buffer(
            "charge", 0.5 * COULOMB * charges * charges[:, None], False
        )
        self.register_buffer("screening", screening, False)
        self.register_buffer(
            "amplitudes", torch.tensor([0.1818, 0.5099, 0.2802, 0.02817]), False
        )
        self.register_buffer(
            "decays", torch.tensor([3.2, 0.9423, 0.4029, 0.2016]), False
        )

    def forward(
        self, distance: Tensor, species: Tensor, src: Tensor, dst: Tensor
    ) -> Tensor:
        """Energy of every atom, (n_atoms,) in eV: half of each of its pairs.

        Parameters
        ----------
        distance : Tensor
            (n_edges,), Angstrom.
        species : Tensor
            (n_atoms,) index into the elements.
        src, dst : Tensor
            (n_edges,) atoms of every edge.
        """
        i, j = species[dst], species[src]
        x = distance / self.screening[i, j]
        phi = torch.exp(-self.decays * x.unsqueeze(-1)) @ self.amplitudes  # (n_edges,)
        switch = polynomial_envelope(distance / self.reach[i, j])
        pair = self.charge[i, j] / distance * phi * switch
        return torch.zeros_like(species, dtype=pair.dtype).index_add(0, dst, pair)
