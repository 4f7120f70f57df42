"""Let valid molecules through and count the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .metrics.validity import valid_molecule

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["TooFewValidError", "ValidFilter"]

#: Molecules in a row that are not valid before the filter gives up.
PATIENCE = 1000


class TooFewValidError(RuntimeError):
    """Hardly any molecule is valid: a filter would never end."""


class ValidFilter:
    """Yields the valid ones of some molecules.

    Attributes
    ----------
    made, valid
        Molecules seen, and those let through.
    """

    def __init__(self) -> None:
        self.made = self.valid = 0
        self._in_a_row = 0

    @property
    def acceptance(self) -> float:
        """Share of the molecules that were valid, 0 to 1."""
        return self.valid / max(self.made, 1)

    def __call__(self, molecules: Iterable[Atoms]) -> Iterator[Atoms]:
        """Yield those that are complete and valid by xyz2mol.

        Raises
        ------
        TooFewValidError
            If 1,000 in a row are not.
        """
        for atoms in molecules:
            whole = atoms.info.get("complete", True)  # others break the rules
            good = whole and valid_molecule(atoms) is not None
            self.made, self.valid = self.made + 1, self.valid + good
            self._in_a_row = 0 if good else self._in_a_row + 1
            if good:
                yield atoms
            elif self._in_a_row >= PATIENCE:
                raise TooFewValidError(
                    f"{PATIENCE} molecules in a row were not valid: lower the "
                    "temperature, loosen the rules, or use a better model"
                )
