"""What stops a simulation: numbers that are not finite and runaway temperatures."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from equicalc.units import KB

if TYPE_CHECKING:
    from ase import Atoms


class SimulationError(RuntimeError):
    """A simulation cannot go on; what was written until then stays on disk."""


def require_structure(atoms: Atoms) -> None:
    """Refuse what no simulation can start from.

    Raises
    ------
    ValueError
        If there are no atoms, or positions that are not finite.
    """
    if len(atoms) == 0:
        raise ValueError("the structure has no atoms")
    bad = ~np.isfinite(atoms.positions).all(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"{bad.sum()} of {len(atoms)} atoms have a position that is not finite; "
            f"the first is atom {first} ({atoms.symbols[first]}): "
            f"{atoms.positions[first]}"
        )


def require_numbers(above: float | None = None, **values: float) -> None:
    """Refuse numbers that are not finite, or not above a limit.

    Raises
    ------
    ValueError
        It names the first such number.
    """
    for name, value in values.items():
        if not np.isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value}")
        if above is not None and value <= above:
            limit = "positive" if above == 0 else f"above {above:g}"
            raise ValueError(f"{name} must be {limit}, got {value}")


def require_counts(least: int = 0, **values: int) -> None:
    """Refuse numbers that are not whole, or under a limit.

    Raises
    ------
    ValueError
        It names the first such number.

    Examples
    --------
    >>> require_counts(steps=2.5)
    Traceback (most recent call last):
    ValueError: steps must be a whole number, 0 or more, got 2.5
    """
    for name, value in values.items():
        if not isinstance(value, Integral) or value < least:
            raise ValueError(
                f"{name} must be a whole number, {least} or more, got {value}"
            )


def require_finite(atoms: Atoms, where: str) -> None:
    """Refuse positions, energies and forces that are not finite.

    Raises
    ------
    SimulationError
        It says `where` in the run that was.
    """
    values = {
        "positions": atoms.positions,
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
    }
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise SimulationError(
                f"{name} not finite at {where}; check the structure for overlapping "
                "atoms and the calculator for what it was made for"
            )


def degrees_of_freedom(atoms: Atoms, ensemble: str) -> int:
    """How many momenta share the kinetic energy.

    A free system in NVE keeps its total momentum and, if not periodic, its angular
    momentum (see `drawn_at_rest`); thermostats move those as well.

    Examples
    --------
    >>> from ase.build import molecule
    >>> degrees_of_freedom(molecule("H2O"), "nve")
    3
    >>> degrees_of_freedom(molecule("CO2"), "nvt")
    9
    """
    free = int(atoms.get_number_of_degrees_of_freedom())
    if drawn_at_rest(atoms, ensemble):
        free -= 3
        if not atoms.pbc.any():
            free -= int((np.asarray(atoms.get_moments_of_inertia()) > 1e-3).sum())
    return max(free, 1)


def drawn_at_rest(atoms: Atoms, ensemble: str) -> bool:
    """Whether drawn velocities leave out what NVE keeps; a single atom has but that."""
    return ensemble == "nve" and not atoms.constraints and len(atoms) > 1


def temperature_limit(temperature: float, n_free: int) -> float:
    """Temperature that thermal motion at `temperature` never reaches, K.

    Twelve standard deviations of the kinetic temperature, sqrt(2/n) T, above the mean
    and 3000 K more, for the heat that an unrelaxed start or a reaction sets free.

    Examples
    --------
    >>> round(temperature_limit(300.0, 60))
    3957
    """
    return temperature * (1.0 + 12.0 * np.sqrt(2.0 / n_free)) + 3000.0


def kinetic_temperature(atoms: Atoms, n_free: int) -> float:
    """Temperature of the momenta, K."""
    return 2.0 * float(atoms.get_kinetic_energy()) / (n_free * KB)
