"""Crystals for networks: independent molecules and the images around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, cast

import torch
from torch import Tensor


@dataclass
class LatticeGraph:
    """A batch of molecular crystals.

    Attributes
    ----------
    z : (n_sites,)
        Atomic numbers of the atoms of independent molecules.
    pos : (n_sites, 3), Angstrom
    molecule : (n_sites,)
        Independent molecule of each atom.
    weight : (n_molecules,)
        Share of each independent molecule among all of its crystal.
    crystal : (n_molecules,)
        Crystal of each independent molecule.
    src, dst : (n_pairs,)
        Sites of the atoms of a pair; that of `src` is an image of it.
    vectors : (n_pairs, 3), Angstrom
        From `dst` to that image.
    image : (n_pairs,)
        Row of `rotations` for the molecule of the image.
    rotations : (n_images, 3, 3)
        Turn vectors, as rows, of an original molecule into those of its image.
    periodic : (n_crystals,)
        False for molecules beside each other without images; all pairs of their atoms
        are listed.
    """

    z: Tensor
    pos: Tensor
    molecule: Tensor
    weight: Tensor
    crystal: Tensor
    src: Tensor
    dst: Tensor
    vectors: Tensor
    image: Tensor
    rotations: Tensor
    periodic: Tensor

    @property
    def n_crystals(self) -> int:
        """Crystals in the batch; the last one has molecules."""
        return int(self.crystal[-1]) + 1 if len(self.crystal) else 0

    def to(self, target: torch.dtype | torch.device | str, **kwargs: Any) -> Self:
        """Return a copy on a device, or with real numbers in a precision."""
        all_of_it = not isinstance(target, torch.dtype)
        return type(self)(
            **{
                name: value.to(cast(Any, target), **kwargs)
                if all_of_it or value.is_floating_point()
                else value
                for name, value in self.columns().items()
            }
        )

    def columns(self) -> dict[str, Tensor]:
        """All arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def collate(cls, graphs: Sequence[Self]) -> Self:
        """Put graphs one after the other; indices are shifted.

        Raises
        ------
        ValueError
            If there is none.
        """
        if not graphs:
            raise ValueError("no crystals given; a batch needs at least one")
        shifts: dict[str, list[int]] = {
            "molecule": [len(one.weight) for one in graphs],
            "crystal": [one.n_crystals for one in graphs],
            "src": [len(one.z) for one in graphs],
            "dst": [len(one.z) for one in graphs],
            "image": [len(one.rotations) for one in graphs],
        }
        columns = {}
        for name in graphs[0].columns():
            parts = [getattr(one, name) for one in graphs]
            if name in shifts:
                starts = [0, *torch.tensor(shifts[name]).cumsum(0)[:-1].tolist()]
                parts = [part + start for part, start in zip(parts, starts)]
            columns[name] = torch.cat(parts)
        return cls(**columns)
