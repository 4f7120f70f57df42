"""Integrators of ASE, and what it takes to stop one and go on to the bit."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from equicalc.simulation.checks import drawn_at_rest
from equicalc.units import GPA, KB

if TYPE_CHECKING:
    from ase import Atoms

ENSEMBLES = ("nve", "nvt", "npt")

BAROSTAT_STATE = ("p_eps", "force_eps")
"""What `ase.md.langevinbaoab.LangevinBAOAB` carries from step to step."""


class Integrator(Protocol):
    """What the integrators of `ase.md` have in common."""

    def step(self) -> object:
        """Move the atoms by one time step."""
        ...


def integrator(atoms: Atoms, settings: dict[str, Any]) -> Integrator:
    """Build the integrator of an ensemble around `atoms`."""
    from ase.units import fs

    builders = {"nve": _verlet, "nvt": _langevin, "npt": _barostat}
    return builders[settings["ensemble"]](atoms, settings["timestep"] * fs, settings)


def _verlet(atoms: Atoms, timestep: float, settings: dict[str, Any]) -> Any:
    from ase.md.verlet import VelocityVerlet

    return VelocityVerlet(atoms, timestep)


def _langevin(atoms: Atoms, timestep: float, settings: dict[str, Any]) -> Any:
    from ase.md.langevin import Langevin
    from ase.units import fs

    return Langevin(
        atoms,
        timestep,
        temperature_K=settings["temperature"],
        friction=settings["friction"] / fs,
        fixcm=False,
        rng=np.random.default_rng(settings["seed"]),
    )


def _barostat(atoms: Atoms, timestep: float, settings: dict[str, Any]) -> Any:
    """Langevin dynamics of atoms and volume (Quigley and Probert, 2004)."""
    from ase.md.langevinbaoab import LangevinBAOAB
    from ase.units import fs

    with warnings.catch_warnings():
        # it announces its heuristic for the mass of the barostat
        warnings.filterwarnings("ignore", message="Using heuristic P_mass")
        return LangevinBAOAB(
            atoms,
            timestep,
            temperature_K=settings["temperature"],
            externalstress=-settings["pressure"] * GPA,
            hydrostatic=True,
            T_tau=fs / settings["friction"],
            P_tau=20.0 * fs / settings["friction"],
            rng=np.random.default_rng(settings["seed"]),
        )


def reseed(dynamics: Integrator, seed: int, step: int) -> None:
    """Let the random numbers from here on depend on `seed` and `step` only."""
    if hasattr(dynamics, "rng"):
        vars(dynamics)["rng"] = np.random.default_rng([seed, step])


def integrator_state(dynamics: Integrator) -> dict[str, Any]:
    """Return what the integrator knows beyond positions, momenta and cell."""
    return {name: vars(dynamics)[name] for name in _state_names(dynamics)}


def restore_integrator(dynamics: Integrator, state: dict[str, np.ndarray]) -> None:
    """Give the integrator back what `integrator_state` took from it."""
    for name in _state_names(dynamics):
        if name in state:
            vars(dynamics)[name] = float(state[name])


def _state_names(dynamics: Integrator) -> list[str]:
    return [name for name in BAROSTAT_STATE if hasattr(dynamics, name)]


def draw_velocities(atoms: Atoms, settings: dict[str, Any], n_free: int) -> None:
    """Draw Maxwell-Boltzmann velocities; in NVE at rest and not rotating as a whole.

    Then the `n_free` momenta that are left share the temperature.
    """
    from ase.md.velocitydistribution import Stationary, ZeroRotation

    generator = np.random.default_rng([settings["seed"], 0, 1])
    width = np.sqrt(atoms.get_masses() * KB * settings["temperature"])
    momenta = width[:, None] * generator.standard_normal((len(atoms), 3))
    atoms.set_momenta(momenta)  # constraints apply
    if drawn_at_rest(atoms, settings["ensemble"]):
        Stationary(atoms, preserve_temperature=False)
        if not atoms.pbc.any():
            with np.errstate(divide="ignore", invalid="ignore"):  # linear: 0 / 0
                ZeroRotation(atoms, preserve_temperature=False)
