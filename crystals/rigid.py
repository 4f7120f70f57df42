"""Batches of crystals of one rigid molecule: energy and gradient, in torch.

A crystal is a row of numbers x, all in Angstrom so that one step length fits all: the
free entries of the cell, the centroid times a typical length of the cell, the rotation
vector times the radius of the molecule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from .dimers import Dimers, closest, pair_sums
from .images import cartesian_rotations, half_of_images
from .potentials import PairPotential
from .shape import vdw_radii, vdw_volume
from .symmetry import lattice_basis, operations

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["RigidCrystals"]

REACH = 8.0  # Angstrom between the nearest atoms of molecules that interact
MAX_SHIFT = 8
NO_CONTACT = 9.0  # squared sums of radii, for molecules without neighbours
TYPICAL_PACKING = 0.7


class RigidCrystals:
    """Crystals with one rigid molecule in the asymmetric unit of one space group.

    Parameters
    ----------
    molecule
        With charges, if the potential reads them.
    spacegroup
        1 to 230.
    potential
        Taken over all atoms of the molecules that `refresh` finds near each other.
    turns : (n_crystals, 3, 3)
        Orientation of the molecule at rotation vector zero.

    Attributes
    ----------
    n_cell
        How many numbers describe the cell.
    volume
        Of the van der Waals spheres of all molecules of a cell, Angstrom^3.
    edge
        Typical length of a cell, Angstrom.
    """

    def __init__(
        self, molecule: Atoms, spacegroup: int, potential: PairPotential, turns: Tensor
    ) -> None:
        centered = molecule.positions - molecule.positions.mean(axis=0)
        body = torch.as_tensor(centered, dtype=torch.float32)
        self.potential = potential
        self.spacegroup = spacegroup
        self.bodies = body @ turns.to(torch.float32).transpose(1, 2)
        self.volume = len(operations(spacegroup)) * vdw_volume(molecule)
        self.edge = (self.volume / TYPICAL_PACKING) ** (1 / 3)
        self.radius = float(body.norm(dim=-1).max()) + 1e-3
        self.basis = torch.as_tensor(lattice_basis(spacegroup), dtype=torch.float32)
        self.n_cell = len(self.basis)
        self.rotations = cartesian_rotations(spacegroup)
        whole = torch.as_tensor(operations(spacegroup).rotations, dtype=torch.float32)
        self._displacements = whole - torch.eye(3, dtype=whole.dtype)
        sites = potential.sites(molecule).to(torch.float32)
        self._pair = potential.combine(sites[:, None], sites)
        radii = torch.as_tensor(vdw_radii(molecule.numbers), dtype=torch.float32)
        self._sums = (radii[:, None] + radii).square()

    def keep(self, rows: Tensor) -> Self:
        """Crystals of some rows only."""
        kept = object.__new__(type(self))
        kept.__dict__.update(self.__dict__)
        kept.bodies = self.bodies[rows]
        return kept

    def cells(self, x: Tensor) -> Tensor:
        """Lattice vectors (n_crystals, 3, 3)."""
        return torch.einsum("bp,pij->bij", x[:, : self.n_cell], self.basis)

    def centroids(self, x: Tensor) -> Tensor:
        """Fractional centroids (n_crystals, 3)."""
        return x[:, self.n_cell : self.n_cell + 3] / self.edge

    def inside(self, x: Tensor) -> Tensor:
        """Return the same crystals with centroids inside of their cells."""
        x = x.clone()
        x[:, self.n_cell : self.n_cell + 3] -= self.centroids(x).floor() * self.edge
        return x

    def poses(self, x: Tensor) -> Tensor:
        """Atoms of the molecules (n_crystals, n_atoms, 3) around their centroids."""
        turn = rotation_matrices(x[:, self.n_cell + 3 :] / self.radius)
        return self.bodies @ turn.transpose(1, 2)

    def refresh(self, x: Tensor, reach: float = REACH) -> None:
        """List the images near each molecule; energies run over these.

        Centroids have to be inside of their cells.

        1. All images whose centroids are near enough for the largest extension.
        2. Those of them with two atoms within reach (Angstrom).
        """
        cells = self.cells(x)
        far = reach + 2 * self.radius
        heights = 1 / torch.linalg.inv(cells).norm(dim=1)
        steps = torch.ceil(far / heights).amax(dim=0).int() + (len(self.rotations) > 1)
        images = half_of_images(
            self.spacegroup, tuple(min(int(n), MAX_SHIFT) for n in steps)
        )
        moved = torch.einsum(
            "nij,bj->bni", self._displacements, self.centroids(x)
        )  # (n_crystals, n_operations, 3)
        # 1
        apart = (moved[:, images.operation] + images.shift) @ cells
        owner, row = torch.nonzero(apart.square().sum(-1) < far**2, as_tuple=True)
        self._list(images, owner, row)
        # 2
        near = self._smallest(x, torch.ones_like(self._sums)) < reach**2
        self._list(images, owner[near], row[near])

    def energy(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies per molecule (n_crystals,), eV, and gradients by x, eV/Angstrom."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energies = pair_sums(
                self.poses(x), self._dimers(x), self.potential, self._pair
            )
            (gradient,) = torch.autograd.grad(energies.sum(), x)
        return energies.detach(), gradient

    def contacts(self, x: Tensor) -> Tensor:
        """Closest contacts (n_crystals,) in sums of van der Waals radii."""
        smallest = x.new_full((len(x),), NO_CONTACT)
        each = self._smallest(x, self._sums)
        return smallest.scatter_reduce(0, self._owner, each, "amin").sqrt()

    def _list(self, images: Any, owner: Tensor, row: Tensor) -> None:
        self._owner = owner
        self._operation = images.operation[row]
        self._shift = images.shift[row]
        self._weight = images.weight[row]

    def _dimers(self, x: Tensor) -> Dimers:
        """Gather the listed pairs of molecules."""
        centroids, cells = self.centroids(x)[self._owner], self.cells(x)[self._owner]
        moved = self._displacements[self._operation] @ centroids.unsqueeze(-1)
        fractional = (moved.squeeze(-1) + self._shift).unsqueeze(1)
        places = (fractional @ cells).squeeze(1)
        turns = self.rotations[self._operation]
        return Dimers(self._owner, turns, places, self._weight)

    def _smallest(self, x: Tensor, unit: Tensor) -> Tensor:
        """Smallest squared distances (n_images,) in a unit (n_atoms, n_atoms)."""
        return closest(self.poses(x), self._dimers(x), unit)


def rotation_matrices(vectors: Tensor) -> Tensor:
    """Rotations (..., 3, 3) by the angle |v| about v, by Rodrigues' formula."""
    squared = vectors.square().sum(-1)[..., None, None]
    angle = (squared + 1e-12).sqrt()
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    skew = skew.unflatten(-1, (3, 3))
    half = torch.sin(angle / 2) / angle
    turned = torch.sin(angle) / angle * skew + 2 * half.square() * skew @ skew
    return torch.eye(3, dtype=vectors.dtype) + turned
