"""Molecular dynamics with ASE's integrators, resumable to the bit."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equicalc.simulation.checks import (
    SimulationError,
    degrees_of_freedom,
    kinetic_temperature,
    require_counts,
    require_finite,
    require_numbers,
    require_structure,
    temperature_limit,
)
from equicalc.simulation.ensembles import (
    ENSEMBLES,
    draw_velocities,
    integrator,
    integrator_state,
    reseed,
    restore_integrator,
)
from equicalc.simulation.log import Log
from equicalc.simulation.relaxation import relax
from equicalc.simulation.trajectory import Recording, freeze
from equicalc.units import GPA

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator

RELAXED = 0.05  # eV/Angstrom


@dataclass(frozen=True)
class Dynamics:
    """Outcome of `molecular_dynamics`.

    Attributes
    ----------
    atoms
        The final structure, with its velocities, energy and forces.
    steps
        Steps taken, those before a resume included.
    time
        Simulated time, fs.
    history
        Column of the log -> values; those before a resume are there if a log was
        written. ``time_fs``, ``temperature_K``, ``potential_eV``, ``total_eV``, ...
    seconds
        Wall time of this call.
    """

    atoms: Atoms
    steps: int
    time: float
    history: dict[str, np.ndarray]
    seconds: float

    @property
    def temperature(self) -> float:
        """Mean temperature of the second half of the run, K."""
        values = self.history["temperature_K"]
        return float(values[len(values) // 2 :].mean())

    @property
    def drift(self) -> float:
        """Slope of the total energy, eV per atom and ps (about zero in NVE)."""
        times = self.history["time_fs"] / 1000.0
        if len(times) < 2:
            return 0.0
        energies = self.history["total_eV"]
        return float(np.polyfit(times, energies - energies[0], 1)[0] / len(self.atoms))


def molecular_dynamics(
    atoms: Atoms,
    calculator: BaseCalculator,
    *,
    steps: int,
    timestep: float = 0.5,
    ensemble: str = "nvt",
    temperature: float = 300.0,
    pressure: float = 0.0,
    friction: float = 0.01,
    seed: int = 0,
    every: int = 10,
    relax_first: bool = False,
    trajectory: str | Path | None = None,
    log: str | Path | None = None,
    resume: bool = False,
    max_temperature: float | None = None,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> Dynamics:
    """Move a structure in time; the one given is left as it is.

    A run that was killed and resumed writes the same trajectory as one that was not,
    if the calculator gives the same forces for the same positions: the random numbers
    depend on `seed` and the step only. A finished run is made longer by resuming it
    with more steps.

    Parameters
    ----------
    atoms
        Where to start. Velocities that it has are used, otherwise drawn at
        `temperature`.
    calculator
        Any ASE calculator.
    steps
        Length of the run, a resumed part included.
    timestep
        fs.
    ensemble
        ``"nve"``: velocity Verlet. ``"nvt"``: Langevin dynamics. ``"npt"``: Langevin
        dynamics with an isotropic barostat; needs three periodic directions.
    temperature
        K. In NVE, of the velocities drawn.
    pressure
        GPa, for ``"npt"``.
    friction
        Of the Langevin thermostat, 1/fs.
    seed
        Of velocities and thermostat.
    every
        Steps from one frame (and line of the log) to the next.
    relax_first
        Relax before the first step, at most 200 steps to 0.05 eV/Angstrom.
    trajectory
        File for the frames: ``.extxyz``, ``.xyz`` or ``.traj``. The restart file is
        kept beside it.
    log
        CSV file for time, temperature and energies.
    resume
        Go on from the last frame in `trajectory`, if there is one.
    max_temperature
        Stop with an error above this, K. Default: what `temperature` can never reach.
    progress
        Called with the step and the line of the log there.

    Returns
    -------
    Dynamics

    Raises
    ------
    ValueError
        If an option or the structure makes no sense.
    SimulationError
        If something is not finite any more or the temperature runs away.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from ase.calculators.emt import EMT
    >>> result = molecular_dynamics(
    ...     molecule("H2O"), EMT(), steps=100, ensemble="nve", every=20
    ... )
    >>> result.history["time_fs"]
    array([ 0., 10., 20., 30., 40., 50.])
    """
    require_structure(atoms)
    settings = {
        "kind": "md",
        "ensemble": ensemble,
        "timestep": timestep,
        "temperature": temperature,
        "pressure": pressure,
        "friction": friction,
        "seed": seed,
        "every": every,
    }
    _check_options(atoms, settings, steps, trajectory, resume)
    if max_temperature is not None and not max_temperature > 0:
        raise ValueError(f"max_temperature must be positive, got {max_temperature} K")
    run = _Run(atoms, calculator, settings, max_temperature)
    path = None if trajectory is None else Path(trajectory)
    with (
        Recording(path, run.atoms, settings, resume) as recording,
        Log(log, keep=int(recording.state.get("log_mark", 0))) as table,
    ):
        if relax_first and recording.is_new:
            run.relax(calculator)
        run.advance(steps, recording, table, progress)
        return Dynamics(
            atoms=freeze(run.atoms),
            steps=run.step,
            time=run.step * timestep,
            history=table.columns(),
            seconds=clock.perf_counter() - run.started,
        )


class _Run:
    """A copy of the atoms and the integrator that moves them."""

    def __init__(
        self,
        atoms: Atoms,
        calculator: BaseCalculator,
        settings: dict[str, Any],
        max_temperature: float | None,
    ) -> None:
        self.started = clock.perf_counter()
        self.step = 0
        self.settings = settings
        self.atoms = atoms.copy()
        self.atoms.calc = calculator
        self.n_free = degrees_of_freedom(atoms, settings["ensemble"])
        if max_temperature is None:
            max_temperature = temperature_limit(settings["temperature"], self.n_free)
        self.limit = max_temperature

    def relax(self, calculator: BaseCalculator) -> None:
        """Relax the structure; velocities stay."""
        relaxed = relax(self.atoms, calculator, fmax=RELAXED, steps=200)
        self.atoms.positions = relaxed.atoms.positions

    def advance(
        self,
        steps: int,
        recording: Recording,
        table: Log,
        progress: Callable[[int, dict[str, float]], None] | None,
    ) -> None:
        """Go to step `steps`, from where the recording ends."""
        seed, every = self.settings["seed"], self.settings["every"]
        self.step = recording.step
        if recording.is_new and not self.atoms.get_momenta().any():
            draw_velocities(self.atoms, self.settings, self.n_free)
        require_finite(self.atoms, f"step {self.step}")
        dynamics = integrator(self.atoms, self.settings)
        restore_integrator(dynamics, recording.state)

        def record() -> None:
            """Write the step down; the numbers drawn after it depend on it alone."""
            require_finite(self.atoms, f"step {self.step}")
            reseed(dynamics, seed, self.step)
            row = self._row()
            table.append(row)
            frame = freeze(self.atoms)
            frame.info |= {"step": self.step, "time_fs": row["time_fs"]}
            state = integrator_state(dynamics) | {"log_mark": table.mark()}
            recording.write(frame, self.step, **state)
            if progress is not None:
                progress(self.step, row)

        if recording.is_new:
            record()
        else:
            reseed(dynamics, seed, self.step)
        while self.step < steps:
            dynamics.step()
            self.step += 1
            self._require_sane()
            if self.step % every == 0:
                record()

    def _row(self) -> dict[str, float]:
        potential = float(self.atoms.get_potential_energy())
        kinetic = float(self.atoms.get_kinetic_energy())
        row = {
            "step": float(self.step),
            "time_fs": self.step * self.settings["timestep"],
            "temperature_K": kinetic_temperature(self.atoms, self.n_free),
            "potential_eV": potential,
            "kinetic_eV": kinetic,
            "total_eV": potential + kinetic,
        }
        if self.settings["ensemble"] == "npt":
            stress = self.atoms.get_stress(include_ideal_gas=True)
            row["volume_A3"] = float(self.atoms.get_volume())
            row["pressure_GPa"] = -float(stress[:3].mean()) / GPA
        return row

    def _require_sane(self) -> None:
        """Stop a run that has exploded (NaN fails the comparison too)."""
        temperature = kinetic_temperature(self.atoms, self.n_free)
        if temperature <= self.limit:
            return
        raise SimulationError(
            f"the structure exploded: {temperature:.3g} K at step {self.step} "
            f"({self.step * self.settings['timestep']:g} fs; the limit is "
            f"{self.limit:.0f} K). Relax it first, take a shorter timestep than "
            f"{self.settings['timestep']:g} fs, or a calculator made for it"
        )


def _check_options(
    atoms: Atoms,
    settings: dict[str, Any],
    steps: int,
    trajectory: str | Path | None,
    resume: bool,
) -> None:
    if settings["ensemble"] not in ENSEMBLES:
        raise ValueError(
            f"unknown ensemble {settings['ensemble']!r}; choose from "
            f"{', '.join(ENSEMBLES)}"
        )
    if settings["ensemble"] == "npt" and not atoms.pbc.all():
        raise ValueError(
            "npt needs a structure that is periodic in three directions; this one "
            f"has pbc = {atoms.pbc.tolist()}"
        )
    for name in ("timestep", "friction"):
        require_numbers(above=0, **{name: settings[name]})
    require_numbers(temperature=settings["temperature"], pressure=settings["pressure"])
    if settings["temperature"] < 0:
        raise ValueError(f"temperature is negative: {settings['temperature']} K")
    require_counts(steps=steps, seed=settings["seed"])
    require_counts(least=1, every=settings["every"])
    if resume and trajectory is None:
        raise ValueError("resume needs the trajectory of the run to resume")
