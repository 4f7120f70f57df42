"""The units of this package and every conversion into them, in one table.

Inside and at every interface: Angstrom, eV, elementary charge, atomic mass unit and,
for times given by a user, femtosecond. So forces are in eV/Angstrom, stresses in
eV/Angstrom^3, dipole moments in e Angstrom.

Constants are CODATA 2018 [1]_.

References
----------
.. [1] E. Tiesinga et al., Rev. Mod. Phys. 93, 025010 (2021).

Examples
--------
>>> from equicalc import units
>>> round(-0.5 * units.HARTREE, 3)
-13.606
>>> energy_unit = "kcal/mol"
>>> round(100.0 * units.factor(energy_unit, "energy"), 4)
4.3364
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = [
    "BOHR",
    "COULOMB",
    "DEBYE",
    "GPA",
    "HARTREE",
    "KB",
    "KCAL_PER_MOL",
    "KJ_PER_MOL",
    "QUANTITIES",
    "factor",
]

HARTREE = 27.211386245988
"""eV."""
BOHR = 0.529177210903
"""Angstrom."""
COULOMB = HARTREE * BOHR
"""Energy of two elementary charges times their distance, eV Angstrom."""
KJ_PER_MOL = 1.0 / 96.48533212331002
"""eV."""
KCAL_PER_MOL = 4.184 * KJ_PER_MOL
"""eV, thermochemical calorie."""
DEBYE = 0.20819433270935597
"""e Angstrom."""
GPA = 1.0 / 160.21766340000003
"""eV/Angstrom^3."""
KB = 8.617333262145179e-5
"""Boltzmann constant, eV/K."""

_ENERGY = {
    "eV": 1.0,
    "meV": 1e-3,
    "Hartree": HARTREE,
    "kcal/mol": KCAL_PER_MOL,
    "kJ/mol": KJ_PER_MOL,
}
_LENGTH = {"Angstrom": 1.0, "Bohr": BOHR}

QUANTITIES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "energy": _ENERGY,
        "length": _LENGTH,
        "forces": {
            f"{energy}/{length}": e / a
            for energy, e in _ENERGY.items()
            for length, a in _LENGTH.items()
        },
        "dipole": {"e*Angstrom": 1.0, "e*Bohr": BOHR, "Debye": DEBYE},
        "stress": {"eV/Angstrom^3": 1.0, "GPa": GPA},
        "charges": {"e": 1.0},
    }
)
"""Quantity -> unit -> its size in the unit used inside. The first one is that unit."""


def factor(unit: str, quantity: str) -> float:
    """Size of a unit, in the unit that the package uses for the quantity.

    Parameters
    ----------
    unit
        For instance ``"Hartree"`` or ``"kcal/mol/Angstrom"``.
    quantity
        One of `QUANTITIES`.

    Returns
    -------
    float
        Multiply a number given in ``unit`` by this.

    Raises
    ------
    ValueError
        If the quantity or the unit is unknown.

    Examples
    --------
    >>> factor("eV/Angstrom", "forces")
    1.0
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"unknown quantity {quantity!r}; known: {list(QUANTITIES)}")
    known = QUANTITIES[quantity]
    if unit not in known:
        raise ValueError(
            f"unknown unit {unit!r} for {quantity}; known: {', '.join(known)}"
        )
    return known[unit]
