"""Energies between atoms of different molecules, as pure functions of the distance.

A potential turns atoms into numbers (`sites`), two atoms into the numbers of a pair
(`combine`), and squared distances into energies and their slopes (`terms`). All shapes
broadcast, so that the same lines serve lists of edges and dense blocks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from equicalc.nn.damped_coulomb import DampedCoulomb
from equicalc.units import COULOMB, KJ_PER_MOL

from .errors import UnknownElementError
from .fragments import polar_hydrogens
from .shape import vdw_radii

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "POTENTIALS",
    "ExpSix",
    "LennardJones",
    "PairPotential",
    "PaperSoft",
    "named_potential",
]

POLAR_HYDROGEN = -1
SOFT_CORE = 1.0  # Angstrom

EXP_SIX = MappingProxyType(
    {
        POLAR_HYDROGEN: (52.12899, 4.66, 0.222819),
        1: (124.07167, 3.74, 1.413698),
        6: (3832.147, 3.60, 25.286949),
        7: (2638.0285, 3.78, 14.286224),
        8: (2384.4658, 3.96, 11.645288),
        17: (9583.59, 3.51, 80.2251),
    }
)
"""A (eV), B (1/Angstrom), C (eV Angstrom^6) of equal atoms; -1: `polar_hydrogens`."""


class PairPotential(ABC):
    """Energy of pairs of atoms of different molecules.

    Attributes
    ----------
    cutoff
        Angstrom; what is beyond is left out. For an r^-6 attraction between 20 atoms
        per 200 Angstrom^3 about 2 % of the energy is beyond 10 Angstrom.
    """

    cutoff: float

    @property
    def formula(self) -> str | None:
        """C++ of `terms`, if it takes but plain arithmetic and one number of a pair.

        It defines ``energy`` and ``slope`` from ``squared`` and ``pair``, vectors of
        floats of type ``V``. Both must be zero where ``pair`` is: rows are padded.
        """
        return None

    @abstractmethod
    def sites(self, molecule: Atoms) -> Tensor:
        """Numbers (n_atoms, k) of the atoms of a molecule."""

    @abstractmethod
    def combine(self, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """Numbers (...) of pairs from those of their atoms (..., k)."""

    @abstractmethod
    def terms(self, squared: Tensor, pair: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Energies (eV) and their derivatives by the squared distance (eV/Angstrom^2).

        Parameters
        ----------
        squared : (...), Angstrom^2
            Squared distances.
        pair
            What `combine` returns.
        """

    def constant(self, molecule: Atoms) -> float:
        """Part of the energy per molecule (eV) that no rigid motion changes."""
        del molecule
        return 0.0


@dataclass(frozen=True)
class LennardJones(PairPotential):
    """4 epsilon ((s/r)^12 - (s/r)^6), s the sum of the van der Waals radii.

    Parameters
    ----------
    epsilon
        Depth, eV; the same for all elements.
    cutoff
        Angstrom.

    Examples
    --------
    >>> squared = torch.tensor([3.4**2])
    >>> abs(LennardJones().terms(squared, (squared,))[0].item()) < 1e-6  # r = s
    True
    """

    epsilon: float = 0.4 * KJ_PER_MOL
    cutoff: float = 10.0

    @property
    def formula(self) -> str:
        """C++ of `terms`."""
        return f"""\
const V inverse = 1 / squared, ratio = pair * inverse;
const V sixth = ratio * ratio * ratio, twelfth = sixth * sixth;
const V energy = {float(4 * self.epsilon)!r}f * (twelfth - sixth);
const V slope = {float(12 * self.epsilon)!r}f * inverse * (sixth - 2 * twelfth);
"""

    def sites(self, molecule: Atoms) -> Tensor:
        """Van der Waals radii (n_atoms, 1)."""
        return _radii(molecule)

    def combine(self, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """Square the sums of radii."""
        return ((first + second).squeeze(-1).square(),)

    def terms(self, squared: Tensor, pair: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Energies and slopes."""
        inverse = squared.reciprocal()
        ratio = pair[0] * inverse
        sixth = ratio * ratio * ratio
        twelfth = sixth * sixth
        slope = torch.sub(sixth, twelfth, alpha=2).mul_(inverse).mul_(12 * self.epsilon)
        return (twelfth - sixth).mul_(4 * self.epsilon), slope


@dataclass(frozen=True)
class PaperSoft(PairPotential):
    """E (0.2 x^-6 - 3.26 exp(-x)), x the distance in sums of van der Waals radii.

    The "Buckingham" energy of published crystal embeddings, for comparison only: its
    minimum of about -E is at x = 1, and its attraction is far longer ranged than any
    of nature. Without physical meaning.
    """

    epsilon: float = 0.4 * KJ_PER_MOL
    cutoff: float = 10.0

    def sites(self, molecule: Atoms) -> Tensor:
        """Van der Waals radii (n_atoms, 1)."""
        return _radii(molecule)

    def combine(self, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """Add the radii."""
        return ((first + second).squeeze(-1),)

    def terms(self, squared: Tensor, pair: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Energies and slopes."""
        x = squared.sqrt() / pair[0]
        attraction, repulsion = 3.26 * torch.exp(-x), 0.2 * x**-6
        by_x = self.epsilon * (attraction - 6 * repulsion / x)
        return self.epsilon * (repulsion - attraction), by_x * x / (2 * squared)


@dataclass(frozen=True)
class ExpSix(PairPotential):
    """A exp(-B r) - C / r^6 for each pair of elements, and damped Coulomb energies.

    Parameters are those of Williams and coworkers [1]_ [2]_ [3]_, polar hydrogen from
    [4]_; unlike atoms get geometric means of A and C and the mean of B. Charges are the
    molecule's ``initial_charges``; none make a potential without electrostatics. Their
    sum over the lattice is a `DampedCoulomb`, which needs neutral molecules.

    Below about 1 Angstrom, where C / r^6 would win, it is damped to C / (r^6 + 1).

    Parameters
    ----------
    damping
        Of the Coulomb energy, 1/Angstrom.
    cutoff
        Angstrom.

    References
    ----------
    .. [1] D. E. Williams, S. R. Cox, Acta Cryst. B 40, 404 (1984).
    .. [2] S. R. Cox, L.-Y. Hsu, D. E. Williams, Acta Cryst. A 37, 293 (1981).
    .. [3] L.-Y. Hsu, D. E. Williams, Acta Cryst. A 36, 277 (1980).
    .. [4] D. S. Coombes et al., J. Phys. Chem. 100, 7352 (1996).
    """

    damping: float = 0.2
    cutoff: float = 12.0

    def sites(self, molecule: Atoms) -> Tensor:
        """sqrt(A), B / 2, sqrt(C), and the charge times the root of e^2/4 pi eps0.

        Raises
        ------
        UnknownElementError
            If an element has no parameters.
        """
        types = np.where(polar_hydrogens(molecule), POLAR_HYDROGEN, molecule.numbers)
        unknown = set(types.tolist()) - set(EXP_SIX)
        if unknown:
            raise UnknownElementError(
                f"no exp-6 parameters for element {min(unknown)}; there are those of "
                "H, C, N, O and Cl"
            )
        rows = [EXP_SIX[kind] for kind in types.tolist()]
        a, b, c = torch.tensor(rows, dtype=torch.float64).unbind(-1)
        charges = torch.as_tensor(molecule.get_initial_charges(), dtype=torch.float64)
        return torch.stack(
            [a.sqrt(), b / 2, c.sqrt(), charges * math.sqrt(COULOMB)], dim=-1
        )

    def combine(self, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """Return A, B, C and the product of the charges."""
        product = first * second
        b = first[..., 1] + second[..., 1]
        return product[..., 0], b, product[..., 2], product[..., 3]

    def terms(self, squared: Tensor, pair: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Energies and slopes."""
        a, b, c, charges = pair
        r = squared.sqrt()
        repulsion = a * torch.exp(-b * r)
        sixth = squared**3
        attraction = c / (sixth + SOFT_CORE**6)
        energy, steepness = self._coulomb.with_slope(r)
        slope = 3 * attraction * squared**2 / (sixth + SOFT_CORE**6)
        slope = slope - (b * repulsion - charges * steepness) / (2 * r)
        return repulsion - attraction + charges * energy, slope

    def constant(self, molecule: Atoms) -> float:
        """Damping and shift within a molecule, and of each atom with itself."""
        q = self.sites(molecule)[:, 3].numpy()
        r = np.linalg.norm(molecule.positions[:, None] - molecule.positions, axis=-1)
        away = torch.as_tensor(np.where(r > 0, r, 1.0))
        pairs = self._coulomb.with_slope(away)[0].numpy() - 1 / away.numpy()
        return float(0.5 * q @ np.where(r > 0, pairs, self._coulomb.own) @ q)

    @cached_property
    def _coulomb(self) -> DampedCoulomb:
        """Energy of two unit charges, times Angstrom."""
        return DampedCoulomb(self.cutoff, self.damping)


POTENTIALS = MappingProxyType(
    {"lj": LennardJones, "paper_soft": PaperSoft, "exp6": ExpSix}
)
"""Name -> potential, for the command line."""


def named_potential(name: str) -> PairPotential:
    """Build a potential of `POTENTIALS` with its default settings.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in POTENTIALS:
        raise ValueError(f"potential {name!r} is unknown; give {', '.join(POTENTIALS)}")
    return POTENTIALS[name]()


def _radii(molecule: Atoms) -> Tensor:
    return torch.as_tensor(vdw_radii(molecule.numbers)).unsqueeze(-1)
