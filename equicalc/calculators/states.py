"""Charge and spin that a structure asks for: our models know neither."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError

_log = logging.getLogger(__name__)

#: Partial charges read from a file add up to zero only so well.
TOLERANCE = 0.01


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
        ``atoms.info["charge"]`` (e) goes before the sum of the initial charges, and
        ``atoms.info["spin"]`` (the multiplicity 2S + 1; 0 counts as 1) before that of
        the initial magnetic moments.

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
    if "charge" in atoms.info:
        charge = _number(atoms.info["charge"], 'atoms.info["charge"]')
    else:
        charge = _number(atoms.get_initial_charges().sum(), "sum of initial charges")
    if "spin" in atoms.info:
        spin = _number(atoms.info["spin"], 'atoms.info["spin"]')
        return charge, max(spin - 1.0, 0.0)
    moments = atoms.get_initial_magnetic_moments().sum()
    return charge, abs(_number(moments, "sum of initial magnetic moments"))


def check_neutral_closed_shell(atoms: Atoms) -> None:
    """Refuse a charged or open-shell structure.

    Raises
    ------
    InputError
        If the structure asks for a charge or for unpaired electrons, see
        `electronic_state`.
    """
    charge, unpaired = electronic_state(atoms)
    if abs(charge) > TOLERANCE or unpaired > TOLERANCE:
        raise InputError(
            f"the structure has charge {charge:+g} and {unpaired:g} unpaired "
            "electrons, but this model knows neutral closed shells only and would "
            "ignore both: reset them in atoms.info, initial charges and magnetic "
            'moments, pass other_states="ignore", or take another calculator '
            "(on the command line: -c gfn2)"
        )


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
