"""Molecules on their way: what is there, and what a model sees of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equicalc.data.fragment_batch import FragmentBatch, Molecules
from equicalc.models import Generator

__all__ = ["Addition", "Growing"]


@dataclass(frozen=True)
class Addition:
    """Atoms to come, one for each molecule.

    Attributes
    ----------
    species, focus : (n,)
    pos : (n, 3), Angstrom
    log_prob : (n,)
        See `Growing`.
    """

    species: Tensor
    pos: Tensor
    focus: Tensor
    log_prob: Tensor

    def __getitem__(self, chosen: Tensor) -> Self:
        """Return some of the atoms."""
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return type(self)(*(values[chosen] for values in fields))


@dataclass(frozen=True)
class Growing:
    """Molecules on their way; atoms in the order in which they were placed.

    Attributes
    ----------
    number : (n,)
        Number of each molecule, for its random stream.
    n_atoms : (n,)
        Atoms so far.
    species : (n, n_max)
        Index into the model's elements.
    pos : (n, n_max, 3), Angstrom
        Positions, from `origin`.
    focus : (n, n_max)
        Atom that it was attached to; -1 for given ones.
    log_prob : (n, n_max)
        Of focus, species and position (per cubic Angstrom), at temperature 1.
    may_focus : (n, n_max, 2) bool
        Whether a hydrogen, and whether another atom, may be attached to the atom.
    origin : (n, 3), Angstrom
        Where the molecule grows.
    room : (n,)
        Atoms that it may have, n_max at most.
    retreats : (n,)
        How often it took atoms back.
    """

    number: Tensor
    n_atoms: Tensor
    species: Tensor
    pos: Tensor
    focus: Tensor
    log_prob: Tensor
    may_focus: Tensor
    origin: Tensor
    room: Tensor
    retreats: Tensor

    @classmethod
    def begin(
        cls,
        number: Tensor,
        species: Tensor,
        pos: Tensor,
        room: Tensor,
        n_given: Tensor | None = None,
        origin: Tensor | None = None,
    ) -> Self:
        """Start from given atoms.

        Parameters
        ----------
        number : (n,)
        species : (n, n_given_max)
        pos : (n, n_given_max, 3), Angstrom
        room : (n,)
            Atoms that there may be.
        n_given : (n,)
            How many of the given atoms are there; by default all.
        origin : (n, 3), Angstrom
            What positions are given from; by default zeros.
        """
        n, width = species.shape
        n_max = int(room.max())
        left = n_max - width
        if n_given is None:
            n_given = torch.full((n,), width, device=pos.device)
        if origin is None:
            origin = pos.new_zeros(n, 3)
        return cls(
            number,
            n_given,
            torch.cat([species, species.new_zeros(n, left)], 1),
            torch.cat([pos, pos.new_zeros(n, left, 3)], 1),
            torch.full((n, n_max), -1, device=pos.device),
            pos.new_zeros(n, n_max),
            torch.ones(n, n_max, 2, dtype=torch.bool, device=pos.device),
            origin,
            room,
            torch.zeros_like(room),
        )

    def __len__(self) -> int:
        return len(self.number)

    def positions(self, row: int) -> NDArray[np.float64]:
        """Return where the atoms of a molecule are, (n_atoms, 3), Angstrom."""
        pos = self.pos[row, : self.n_atoms[row]]
        return (pos + self.origin[row]).cpu().numpy()

    def __getitem__(self, chosen: Tensor) -> Self:
        """Return some of the molecules, copied."""
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return type(self)(*(values[chosen] for values in fields))

    def copy(self) -> Self:
        """Return all of the molecules, copied."""
        return self[torch.ones_like(self.number, dtype=torch.bool)]

    def append(self, rows: Tensor, new: Addition) -> None:
        """Add an atom each to some molecules (rows), in place."""
        place = rows, self.n_atoms[rows]
        self.species[place] = new.species
        self.pos[place] = new.pos
        self.focus[place] = new.focus
        self.log_prob[place] = new.log_prob
        self.n_atoms[rows] += 1

    def retreat(self, rows: Tensor) -> Tensor:
        """Take atoms back, in place: one that is no hydrogen, then two, and so on.

        What came after them goes with them. Given atoms and the first one stay.

        Parameters
        ----------
        rows
            Molecules.

        Returns
        -------
        Tensor
            Those of the rows that had atoms to lose.
        """
        some = self[rows]
        own = some.there & (some.focus >= 0)
        heavy = (own & (some.species > 0)).int()
        since = heavy.flip(1).cumsum(1).flip(1)  # heavy atoms from here on
        kept = (since > some.retreats.unsqueeze(1)).sum(1) - 1
        n_atoms = kept.maximum((some.there & ~own).sum(1))
        self.n_atoms[rows] = n_atoms
        self.retreats[rows] += 1
        return rows[n_atoms < some.n_atoms]

    @property
    def there(self) -> Tensor:
        """Whether there is an atom yet, (n, n_max)."""
        return (
            torch.arange(self.species.shape[1], device=self.pos.device)
            < self.n_atoms[:, None]
        )

    def fragments(self, model: Generator) -> tuple[FragmentBatch, Tensor]:
        """Return what the model sees, and the atom behind every heavy one.

        Returns
        -------
        batch, atom
            One fragment each, and (n, n_heavy_max).
        """
        hydrogen = self.there & (self.species == 0)
        if not model.hydrogens_apart:
            hydrogen = torch.zeros_like(hydrogen)
        heavy = self.there & ~hydrogen
        atom, hydrogens = _compact(heavy), _compact(hydrogen)
        rows = torch.arange(len(self), device=self.pos.device)[:, None]
        molecules = Molecules(
            self.species[rows, atom], self.pos[rows, atom], self.pos[rows, hydrogens]
        )
        batch = FragmentBatch.build(
            molecules,
            rows[:, 0],
            heavy.sum(1),
            hydrogen.sum(1),
            model.config.cutoff,
            model.config.hydrogen_cutoff,
        )
        return batch, atom


def _compact(mask: Tensor) -> Tensor:
    """Return the columns of true entries, up to the number of the fullest row."""
    width = int(mask.sum(1).max())
    return mask.int().argsort(dim=1, descending=True, stable=True)[:, :width]
