"""Rules that a user sets for molecules to come: what is in them, what is around."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

from ase.data import chemical_symbols
from ase.formula import Formula

from .metrics.lookup import VALENCES

if TYPE_CHECKING:
    from ase import Atoms

    from equicalc.models import GeneratorConfig

__all__ = ["Rules"]

UNLIMITED = 2**31  # atoms of an element


@dataclass(frozen=True)
class Rules:
    """What molecules must keep to while they grow.

    An atom that breaks a rule is drawn again, up to `attempts` times; a molecule that
    is full or finds no way on goes back, up to `retreats` times, and at last ends where
    it is then, with ``complete`` false.

    Attributes
    ----------
    valence
        No atom gets more bonds than H 1, C 4, N 3, O 2, F 1, where bonds (and multiple
        bonds that are beyond doubt) follow from distances, and no distance is between
        those of bonds and of strangers; a new atom is bonded to the one that it is
        attached to; double bonds are flat; and no molecule is complete with an odd
        number of electrons. False for ions and radicals; None, the default, is
        True for generators of these elements.
    clash
        Atoms that are not bonded stay apart by so many times the sum of their covalent
        radii; 1.25 is a good choice.
    elements
        Symbols that may be added.
    min_atoms, max_atoms
        Size of the whole molecule, given atoms included.
    formula
        Composition of the whole molecule: stop when, and only when, it is reached.
    environment
        Atoms of any element that are not part of the molecule: new atoms keep away
        from them, by 1.7 times the sum of the covalent radii.
    attempts
        Draws of one step.
    retreats
        How often a molecule goes back: the first time to before its last atom that is
        no hydrogen, then to before the last two, and so on; not beyond what was given.
        0 saves time where a limit is so tight that it does not help.
    """

    valence: bool | None = None
    clash: float | None = None
    elements: Sequence[str] | None = None
    min_atoms: int = 0
    max_atoms: int | None = None
    formula: str | None = None
    environment: Atoms | None = None
    attempts: int = 10
    retreats: int = 6

    def __post_init__(self) -> None:
        if self.clash is not None and not self.clash > 0:
            raise ValueError(f"clash must be positive, got {self.clash}")
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")
        if self.retreats < 0:
            raise ValueError(f"retreats must be at least 0, got {self.retreats}")
        if self.environment is not None and self.environment.pbc.any():
            raise ValueError("the environment is periodic: set environment.pbc = False")
        if self.max_atoms is not None and self.max_atoms < max(self.min_atoms, 1):
            raise ValueError(
                f"max_atoms {self.max_atoms} is below "
                + (f"min_atoms {self.min_atoms}" if self.min_atoms > 1 else "1")
            )
        if self.formula is not None and not self.formula.strip():
            raise ValueError("the formula is empty: write C2H6O, or leave it out")
        if self.elements is not None and not any(self.elements):
            raise ValueError("elements are empty: name some, or leave them out")
        if self.formula is not None and (self.min_atoms or self.max_atoms):
            raise ValueError("give a formula or a number of atoms, not both")

    def provenance(self) -> dict[str, Any]:
        """Return the rules that are in force, for the record; without environment.

        Examples
        --------
        >>> Rules(valence=True, max_atoms=20).provenance()
        {'valence': True, 'max_atoms': 20}
        """
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "environment"
            and getattr(self, field.name) != field.default
        }

    def text(self) -> str:
        """Return the rules that are in force in one line, as structures keep them.

        Environments are told apart by formula and a hash of their atoms.

        Examples
        --------
        >>> Rules(elements=("O", "H", "C"), clash=1.25).text()
        'clash 1.25, elements C H O, retreats 6'
        """
        words = self.provenance() | {"retreats": self.retreats}
        if self.valence:
            words["valence"] = "of closed shells and flat double bonds"
        if self.elements is not None:
            words["elements"] = " ".join(sorted(set(self.elements)))
        if self.formula is not None:
            words["formula"] = Formula(self.formula).format("hill")
        if (around := self.environment) is not None:
            places = around.numbers.tobytes() + around.positions.tobytes()
            digest = hashlib.sha256(places).hexdigest()[:8]
            words["environment"] = f"{around.get_chemical_formula()} {digest}"
        return ", ".join(f"{name} {value}" for name, value in words.items())

    @property
    def rejects(self) -> bool:
        """Whether an atom may be refused for where it is."""
        return bool(self.valence or self.clash or self.environment is not None)

    def settled(self, config: GeneratorConfig) -> Self:
        """Decide what was left to the generator."""
        if self.valence is not None:
            return self
        return replace(self, valence=set(config.elements) <= VALENCES.keys())

    def room(self, default: int, n_given: int = 0) -> int:
        """Return how many atoms the largest molecule may have."""
        if self.formula is not None:
            return len(Formula(self.formula))
        if self.max_atoms is not None:
            return self.max_atoms
        return max(default, n_given + 1, self.min_atoms)

    def quota(self, config: GeneratorConfig) -> list[int] | None:
        """Return how many atoms of every element there may be, None for any.

        Raises
        ------
        ValueError
            If an element is unknown to the model, or no molecule has the formula.
        """
        if self.formula is not None:
            counts = self._composition(self.formula, config)
            if self.elements is not None and counts.keys() - set(self.elements):
                raise ValueError(
                    f"the formula {self.formula} has other elements than "
                    f"{', '.join(self.elements)}"
                )
            return [counts.get(chemical_symbols[z], 0) for z in config.elements]
        if self.elements is None:
            return None
        allowed = set(self.elements)
        _require_known(allowed, config)
        return [
            UNLIMITED if chemical_symbols[z] in allowed else 0 for z in config.elements
        ]

    def check(self, config: GeneratorConfig, fragment: Atoms | None = None) -> None:
        """Raise ValueError if nothing can keep to the rules; the message says why.

        Parameters
        ----------
        config
            Of the model.
        fragment
            What is to be completed, if anything.
        """
        quota = self.quota(config)
        if self.valence and not set(config.elements) <= VALENCES.keys():
            raise ValueError("the valence rule knows H, C, N, O, F only: leave it off")
        if quota is not None and fragment is None and not any(quota[1:]):
            raise ValueError(
                f"{self.formula or ', '.join(self.elements or ())} has hydrogens only: "
                "a molecule begins with another atom"
            )
        if self.formula is not None and fragment is not None:
            counts = self._composition(self.formula, config)
            _require_inside(fragment, counts, self.formula)
        n_given = 0 if fragment is None else len(fragment)
        room = self.room(config.max_atoms, n_given)
        if fragment is None and room > config.max_atoms:
            raise ValueError(
                f"{room} atoms are asked for; this generator makes molecules of up to "
                f"{config.max_atoms}"
            )
        if n_given > room:
            raise ValueError(
                f"the fragment has {n_given} atoms, more than the {room} allowed"
            )
        if self.valence and fragment is not None and fragment.numbers.sum() % 2:
            free = quota or [UNLIMITED] * len(config.elements)
            odd = (n for n, z in zip(free, config.elements) if z % 2)
            if room == n_given or not any(odd):
                raise ValueError(
                    f"{fragment.get_chemical_formula()} has an odd number of "
                    "electrons, which nothing that may be added changes; valence=False "
                    "(--no-valence) grows ions and radicals"
                )

    def _composition(self, text: str, config: GeneratorConfig) -> dict[str, int]:
        """Atoms of every element of a formula that molecules may have."""
        counts = _counts(text, config)
        if self.valence is not False:
            _require_closed_shells(text, counts)
        return counts


def _counts(text: str, config: GeneratorConfig) -> dict[str, int]:
    try:
        counts = Formula(text, strict=True).count()
    except ValueError as error:
        raise ValueError(f"formula {text!r} cannot be read: write C2H6O") from error
    _require_known(counts, config)
    return counts


def _require_closed_shells(text: str, counts: dict[str, int]) -> None:
    known = {chemical_symbols[z]: v for z, v in VALENCES.items()}
    if not counts.keys() <= known.keys():
        return
    # rings and multiple bonds that a molecule of closed shells must have
    twice = 2 + sum(n * (known[symbol] - 2) for symbol, n in counts.items())
    if twice < 0 or twice % 2:
        reason = "too many hydrogens" if twice < 0 else "an odd number of bonds"
        raise ValueError(f"no molecule has the formula {text}: {reason}")


def _require_known(symbols: Iterable[str], config: GeneratorConfig) -> None:
    known = [chemical_symbols[z] for z in config.elements]
    if unknown := sorted(set(symbols) - set(known)):
        raise ValueError(
            f"{', '.join(unknown)} unknown to this generator, which knows "
            f"{', '.join(known)}"
        )


def _require_inside(fragment: Atoms, counts: dict[str, int], formula: str) -> None:
    for symbol, n in fragment.symbols.formula.count().items():
        if n > counts.get(symbol, 0):
            raise ValueError(
                f"the fragment has {n} {symbol}, the formula {formula} only "
                f"{counts.get(symbol, 0)}"
            )
