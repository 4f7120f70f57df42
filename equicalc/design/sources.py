"""Where molecules come from: a generator, files, or what a user wrote."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, FilePath

from equicalc.data.readers import read_structures

from .regrowth import kept_fragment, regrow

if TYPE_CHECKING:
    from ase import Atoms

    from equicalc.generators import Builder, Temperature

__all__ = ["Files", "Fragment", "Generator", "Source"]


class Source(BaseModel, ABC):
    """New molecules and variants of known ones.

    A source is its own configuration and must give the same structure for the same
    numbers and seed: that is what makes a design resumable.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def check(self) -> None:
        """Raise an error if something that the source needs is missing."""

    @abstractmethod
    def fresh(self, numbers: Sequence[int], seed: int) -> list[Atoms]:
        """Return new molecules.

        Parameters
        ----------
        numbers
            Consecutive ones, each molecule has its own; fewer molecules come back
            when there are no more.
        seed
            Of the design.
        """

    @abstractmethod
    def variant(self, parent: Atoms, seed: int) -> Atoms:
        """Return a molecule that has something of its parent."""


class Generator(Source):
    """Molecules that a generator makes from nothing, and regrown ones.

    Attributes
    ----------
    model
        A shipped generator or the file of a checkpoint.
    focus_temperature, position_temperature
        As of `equicalc.generators.Temperature`.

    Examples
    --------
    >>> [molecule] = Generator(model="symphony").fresh([0], seed=0)
    >>> molecule.info["generator"], molecule.info["molecule"]
    ('symphony', 0)
    """

    model: str = "symphony"
    focus_temperature: float = 1.1
    position_temperature: float = 0.02

    def check(self) -> None:
        """Find the generator."""
        from equicalc.pretrained import weights_path

        weights_path(self.model)

    def fresh(self, numbers: Sequence[int], seed: int) -> list[Atoms]:
        """Generate molecules."""
        return _builder(self.model).generate(
            len(numbers), seed, first=numbers[0], temperature=self.temperature()
        )

    def variant(self, parent: Atoms, seed: int) -> Atoms:
        """Cut a part off and grow it anew."""
        return regrow(parent, _builder(self.model), seed, self.temperature())

    def temperature(self) -> Temperature:
        """Return both temperatures as generators take them."""
        from equicalc.generators import Temperature

        return Temperature(self.focus_temperature, self.position_temperature)


class Fragment(Generator):
    """Completions of a fragment; variants keep its heavy atoms.

    Attributes
    ----------
    file
        Structure of the fragment, in any format of ASE.
    grow_from
        Atoms that something may be attached to; all by default.
    bare
        Take its hydrogens off first, see `equicalc.generators.Builder.complete`: the
        shipped generator adds nothing but hydrogens beside hydrogens.
    """

    file: FilePath
    grow_from: tuple[int, ...] | None = None
    bare: bool = False

    def fresh(self, numbers: Sequence[int], seed: int) -> list[Atoms]:
        """Complete the fragment, once for each number."""
        *_, fragment = read_structures(self.file)
        return _builder(self.model).complete(
            fragment,
            len(numbers),
            seed,
            grow_from=self.grow_from,
            bare=self.bare,
            temperature=self.temperature(),
            first=numbers[0],
        )

    def variant(self, parent: Atoms, seed: int) -> Atoms:
        """Cut off what was grown, in part, and grow it anew."""
        if "gen_step" not in parent.arrays:  # a conformer has its atoms in other order
            return self.fresh([0], seed)[0]
        *_, fragment = read_structures(self.file)
        own = np.flatnonzero(fragment.numbers > 1).tolist()
        kept = kept_fragment(parent, seed, core=len(own))
        grow_from = None
        if self.grow_from is not None:
            grow_from = [k for k, atom in enumerate(own) if atom in self.grow_from]
            grow_from += range(len(own), len(kept))
        [grown] = _builder(self.model).complete(
            kept,
            1,
            seed,
            grow_from=grow_from,
            bare=True,
            temperature=self.temperature(),
        )
        return grown


class Files(Generator):
    """Molecules of files to begin with, each once; a generator varies them.

    Attributes
    ----------
    paths
        Structures in any format of ASE, or files of SMILES.
    """

    paths: tuple[FilePath, ...]

    def fresh(self, numbers: Sequence[int], seed: int) -> list[Atoms]:
        """Take molecules of the files in their order."""
        known = _molecules(self.paths)
        return [known[k].copy() for k in numbers if k < len(known)]


@lru_cache(maxsize=2)
def _builder(model: str) -> Builder:
    from equicalc.generators import load_builder

    return load_builder(model)


@lru_cache(maxsize=2)
def _molecules(paths: tuple[Path, ...]) -> list[Atoms]:
    from equicalc.data.smiles import atoms_from_smiles, is_smiles_file, numbered_smiles

    found: list[Atoms] = []
    for path in paths:
        if not is_smiles_file(path):
            found += read_structures(path)
            continue
        for line, smiles in numbered_smiles(path):
            try:
                found.append(atoms_from_smiles(smiles))
            except ValueError as error:
                raise ValueError(f"{path}:{line}: {error}") from error
    return found
