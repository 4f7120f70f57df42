"""Rules as tensors: which choices a growing molecule has, which atoms it accepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor

from .growing import Addition, Growing
from .metrics.lookup import VALENCES, bond_limits
from .metrics.validity import RADII_2023, REACH
from .rules import Rules

if TYPE_CHECKING:
    from equicalc.models import Generator

__all__ = ["Constraints"]

#: Atoms within so many times the sum of their covalent radii do not clash.
BONDED = 1.15
#: Nearest atom of an environment, in sums of covalent radii.
CONTACT = 1.7
#: Double bonds count if at most 1 pm longer than usual, triple bonds 3 pm: shorter
#: than the bonds of aromatic rings.
BEYOND_DOUBT = (10, 1, 3)
#: Longest way from an end of a double bond to the plane of its three neighbours,
#: Angstrom, and least cosine between the planes of both ends: 20 degrees.
FLAT = 0.25
PARALLEL = 0.94


@dataclass(frozen=True)
class Constraints:
    """`Rules` for a model, on its device.

    Attributes
    ----------
    rules
        What was asked for.
    radii : (n_elements,), Angstrom
        Covalent radii.
    quota : (n_elements,) or None
        Atoms of every element that there may be.
    valences : (n_elements,) or None
        Bonds that an atom may have.
    limits : (3, n_elements, n_elements), Angstrom
        Longest single, double and triple bonds.
    apart : (n_elements, n_elements), Angstrom
        Least distances of atoms that are not bonded.
    environment, environment_radii : (m, 3) and (m,), Angstrom
        What is around, places in double precision.
    """

    rules: Rules
    radii: Tensor
    quota: Tensor | None
    valences: Tensor | None
    limits: Tensor
    apart: Tensor
    environment: Tensor
    environment_radii: Tensor

    @classmethod
    def of(cls, rules: Rules, model: Generator, device: torch.device) -> Self:
        """Prepare rules for a model."""

        def tensor(values: object) -> Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=device)

        z = list(model.elements)
        quota = rules.quota(model.config)
        around = rules.environment
        valences = tensor([VALENCES[number] for number in z]) if rules.valence else None
        limits = bond_limits(BEYOND_DOUBT)[:, z][:, :, z] if rules.valence else []
        reach = REACH * tensor([RADII_2023[n] for n in z] if rules.valence else [])
        return cls(
            rules,
            tensor(covalent_radii[z]),
            None if quota is None else tensor(quota),
            valences,
            tensor(limits),
            reach[:, None] + reach,
            torch.as_tensor(
                np.zeros((0, 3)) if around is None else around.positions, device=device
            ),
            tensor([] if around is None else covalent_radii[around.numbers]),
        )

    def allowed(self, growing: Growing, atom: Tensor) -> Tensor:
        """Return which choices there are, (n, n_foci * n_elements + 1); stop is last.

        Parameters
        ----------
        growing
            Fragments.
        atom : (n, n_foci)
            The atom behind every possible focus.
        """
        n, n_elements = len(growing), len(self.radii)
        pairs = torch.ones(
            *atom.shape, n_elements, dtype=torch.bool, device=atom.device
        )
        stop = (growing.n_atoms >= self.rules.min_atoms).unsqueeze(1)
        if self.quota is not None:
            left = self.quota - self._composition(growing)
            pairs &= (left > 0).unsqueeze(1)
            if self.rules.formula is not None:
                stop &= ~(left > 0).any(1, keepdim=True)
        if self.valences is not None:
            free = self.valences[growing.species] - self._bonds(growing).sum(2)
            pairs &= (free.gather(1, atom) > 0).unsqueeze(2)
            total = (self.valences[growing.species] * growing.there).sum(1)
            stop &= (total % 2 == 0).unsqueeze(1)  # electrons come in pairs
        return torch.cat([pairs.reshape(n, -1), stop], 1)

    def accept(self, growing: Growing, new: Addition) -> Tensor:
        """Return whether the new atoms may be where they are, (n,)."""
        good = torch.ones_like(growing.number, dtype=torch.bool)
        if not self.rules.rejects:
            return good
        distance = torch.linalg.vector_norm(growing.pos - new.pos.unsqueeze(1), dim=2)
        radii = self.radii[new.species].unsqueeze(1)
        if self.rules.clash is not None:
            ratio = distance / (self.radii[growing.species] + radii)
            apart = (ratio < BONDED) | (ratio > self.rules.clash)
            good &= (apart | ~growing.there).all(1)
        if self.valences is not None:
            limits = self.limits[:, growing.species, new.species.unsqueeze(1)]
            order = _orders(distance, limits) * growing.there
            bonds = self._bonds(growing)
            free = self.valences[growing.species] - bonds.sum(2)
            good &= ((order <= free) | (order == 0)).all(1)
            good &= order.sum(1) <= self.valences[new.species]
            good &= _flat(growing, new, bonds, order)
            good &= order.gather(1, new.focus.unsqueeze(1)).squeeze(1) > 0
            near = distance < self.apart[growing.species, new.species.unsqueeze(1)]
            good &= (~near | (order > 0) | ~growing.there).all(1)
        if len(self.environment):
            distance = torch.cdist(
                new.pos + growing.origin,
                self.environment,
                compute_mode="donot_use_mm_for_euclid_dist",  # loses digits far away
            )
            good &= (distance > CONTACT * (self.environment_radii + radii)).all(1)
        return good

    def _composition(self, growing: Growing) -> Tensor:
        """Atoms of every element, (n, n_elements)."""
        one_hot = torch.nn.functional.one_hot(growing.species, len(self.radii))
        return (one_hot * growing.there.unsqueeze(2)).sum(1)

    def _bonds(self, growing: Growing) -> Tensor:
        """Bond orders that are beyond doubt, (n, n_max, n_max)."""
        species, there = growing.species, growing.there
        limits = self.limits[:, species.unsqueeze(2), species.unsqueeze(1)]
        order = _orders(torch.cdist(growing.pos, growing.pos), limits)
        order.diagonal(dim1=1, dim2=2).zero_()
        return order * (there.unsqueeze(2) & there.unsqueeze(1))


def _flat(growing: Growing, new: Addition, bonds: Tensor, order: Tensor) -> Tensor:
    """Whether a new atom leaves double bonds flat, its own and its neighbours', (n,).

    Parameters
    ----------
    growing, new
        Molecules and an atom for each.
    bonds : (n, n_max, n_max)
        Bond orders of the molecules.
    order : (n, n_max)
        Those of the new atoms.
    """
    pos = torch.cat([growing.pos, new.pos.unsqueeze(1)], 1)
    row = torch.cat([order, order.new_zeros(len(order), 1)], 1)
    after = torch.cat([torch.cat([bonds, order.unsqueeze(1)], 1), row.unsqueeze(2)], 2)
    planar = ((after > 0).sum(2) == 3) & (after.amax(2) == 2)
    molecule, atom = planar.nonzero(as_tuple=True)
    neighbours = after[molecule, atom].topk(3).indices
    ends = pos[molecule.unsqueeze(1), neighbours] - pos[molecule, atom].unsqueeze(1)
    a, b, c = ends.unbind(1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
    bent = torch.zeros_like(planar)
    bent[molecule, atom] = (a * normal).sum(1).abs() > FLAT
    normals = torch.zeros_like(pos)
    normals[molecule, atom] = normal
    turned = (normals @ normals.transpose(1, 2)).abs() < PARALLEL
    double = (after == 2) & planar.unsqueeze(1) & planar.unsqueeze(2)
    changed = row > 0
    changed[:, -1] = True
    return ~((bent | (double & turned).any(2)) & changed).any(1)


def _orders(distance: Tensor, limits: Tensor) -> Tensor:
    """Bond orders for distances (...) and limits (3, ...)."""
    single, double, triple = (distance < limits).to(torch.int64)
    return single * (1 + double * (1 + triple))
