"""Charge and spin that a structure asks for: our models know neither."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError

_log = logging.getLogger(__name__)

#: Of charges and unpaired electrons that a structure names.
TOLERANCE = 0.01

#: Keys of `Atoms.info` under which programs keep them, ours first.
CHARGE_KEYS = ("charge", "total_charge")
MULTIPLICITY_KEYS = ("spin", "spin_multiplicity", "multiplicity")

#: What a calculator can do with other states, and a network alone.
OF_CALCULATOR = (
    "take another calculator (on the command line: -c gfn2), or pass "
    'other_states="ignore" to EquiCalculator'
)
OF_NETWORK = "leave the structure out"


class StateGuard:
    """Apply the setting ``other_states`` to charged and open-shell structures.

    Attributes
    ----------
    policy : {"error", "warn", "ignore"}
        What to do with one.
    """

    def __init__(self) -> None:
        self.policy = "error"
        self._radicals: set[str] = set()  # formulas that were named

    def check(self, atoms: Atoms) -> None:
        """Refuse a structure, or warn; say once when it is a radical.

        Raises
        ------
        InputError
            See `check_neutral_closed_shell`.
        """
        if self.policy == "ignore":
            return
        try:
            check_neutral_closed_shell(atoms)
        except InputError as error:
            if self.policy == "error":
                raise
            warnings.warn(str(error), stacklevel=3)
        if len(atoms) == 1 or atoms.numbers.sum() % 2 == 0:
            return
        formula = atoms.get_chemical_formula()
        if formula not in self._radicals:
            self._radicals.add(formula)
            _log.warning(
                "%s has an odd number of electrons; the model knows closed shells only",
                formula,
            )


def electronic_state(atoms: Atoms) -> tuple[float, float]:
    """Return the total charge and the number of unpaired electrons asked for.

    Parameters
    ----------
    atoms : Atoms
        ``atoms.info["charge"]`` (e; or ``total_charge``) goes before the sum of the
        initial charges, rounded, and ``atoms.info["spin"]`` (the multiplicity 2S + 1;
        0 counts as 1; or ``spin_multiplicity``, ``multiplicity``) before that of the
        initial magnetic moments.

    Raises
    ------
    InputError
        If one of them is not a finite number.

    Examples
    --------
    >>> hydroxide = Atoms("OH", info={"charge": -1})
    >>> electronic_state(hydroxide)
    (-1.0, 0.0)
    """
    charge = _first(atoms, CHARGE_KEYS)
    if charge is None:  # partial charges of a file add up to an integer only so well
        total = _number(atoms.get_initial_charges().sum(), "sum of initial charges")
        charge = float(round(total))
    multiplicity = _first(atoms, MULTIPLICITY_KEYS)
    if multiplicity is not None:
        return charge, max(multiplicity - 1.0, 0.0)
    moments = atoms.get_initial_magnetic_moments().sum()
    return charge, abs(_number(moments, "sum of initial magnetic moments"))


def check_neutral_closed_shell(atoms: Atoms, otherwise: str = OF_CALCULATOR) -> None:
    """Refuse a charged or open-shell structure.

    Parameters
    ----------
    atoms : Atoms
        The structure.
    otherwise : str
        What the message ends with: what can be done but to reset charge and spin.

    Raises
    ------
    InputError
        If the structure asks for a charge or for unpaired electrons, see
        `electronic_state`; also if those of several atoms cancel.
    """
    charge, unpaired = electronic_state(atoms)
    if _first(atoms, MULTIPLICITY_KEYS) is None:
        unpaired = max(
            unpaired, np.abs(atoms.get_initial_magnetic_moments()).max(initial=0)
        )
    if abs(charge) > TOLERANCE or unpaired > TOLERANCE:
        raise InputError(
            f"the structure has charge {charge:+g} and {unpaired:g} unpaired "
            "electrons, but this model knows neutral closed shells only and would "
            "ignore both: reset them in atoms.info, initial charges and magnetic "
            f"moments, or {otherwise}"
        )


def _first(atoms: Atoms, keys: tuple[str, ...]) -> float | None:
    """Return the first of the keys in `atoms.info`, None without any."""
    for key in keys:
        if key in atoms.info:
            return _number(atoms.info[key], f'atoms.info["{key}"]')
    return None


def _number(value: Any, name: str) -> float:
    try:
        number = float(value) if np.ndim(value) == 0 else np.nan
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise InputError(
            f"{name} is {value!r}: give one finite number, or leave it out"
        )
    return number
