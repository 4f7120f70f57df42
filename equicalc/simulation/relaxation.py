"""Relaxation to the nearest minimum, with ASE's optimisers."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equicalc.simulation.checks import (
    require_counts,
    require_finite,
    require_numbers,
    require_structure,
)
from equicalc.simulation.trajectory import Recording, freeze

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator

OPTIMIZERS = {
    "lbfgs": "LBFGS",
    "bfgs": "BFGS",
    "bfgs-line-search": "BFGSLineSearch",
    "fire": "FIRE",
    "fire2": "FIRE2",
}
"""Our name -> class in `ase.optimize`."""


@dataclass(frozen=True)
class Relaxation:
    """Outcome of `relax`.

    Attributes
    ----------
    atoms
        The final structure, with its energy and forces attached.
    converged
        Whether the largest force fell under the threshold.
    steps
        Steps taken, those before a resume included.
    energy, energy_start
        At the end and at the beginning, eV.
    fmax
        Largest force on an atom at the end, eV/Angstrom.
    seconds
        Wall time of this call.
    """

    atoms: Atoms
    converged: bool
    steps: int
    energy: float
    energy_start: float
    fmax: float
    seconds: float


def relax(
    atoms: Atoms,
    calculator: BaseCalculator,
    *,
    fmax: float = 0.01,
    steps: int = 500,
    optimizer: str = "lbfgs",
    cell: bool = False,
    trajectory: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> Relaxation:
    """Relax a structure; the one given is left as it is.

    Parameters
    ----------
    atoms
        Where to start. Its constraints are respected.
    calculator
        Any ASE calculator.
    fmax
        Converged when no atom feels a larger force, eV/Angstrom (with `cell`, the
        stress times volume counts too).
    steps
        Steps to give up after.
    optimizer
        One of `OPTIMIZERS`.
    cell
        Relax the cell too; needs three periodic directions and a stress.
    trajectory
        File that gets every step: ``.extxyz``, ``.xyz`` or ``.traj``.
    resume
        Go on from the last step in `trajectory`, if there is one.
    progress
        Called with the step and the energy (eV) and fmax (eV/Angstrom) there.

    Returns
    -------
    Relaxation

    Raises
    ------
    ValueError
        If an option or the structure makes no sense.
    SimulationError
        If energy or forces stop being finite.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from ase.calculators.emt import EMT
    >>> water = molecule("H2O")
    >>> result = relax(water, EMT(), fmax=0.01)
    >>> result.converged, result.energy < result.energy_start
    (True, True)
    """
    require_structure(atoms)
    _check_options(atoms, fmax, steps, optimizer, cell, trajectory, resume)
    started = time.perf_counter()
    moving = atoms.copy()
    moving.calc = calculator
    path = None if trajectory is None else Path(trajectory)
    settings = {"kind": "relax", "cell": cell}
    with Recording(path, moving, settings, resume) as recording, _quiet_logarithms():
        require_finite(moving, f"step {recording.step}")
        now = float(moving.get_potential_energy())
        start = float(recording.state.get("energy", now))
        iterations = _iterate(moving, optimizer, fmax, steps - recording.step, cell)
        step, converged = recording.step, False
        for step, reached in enumerate(iterations, recording.step):
            converged = bool(reached)
            require_finite(moving, f"step {step}")
            if step > recording.step or recording.is_new:
                recording.write(freeze(moving), step, energy=start)
            if progress is not None:
                progress(step, _values(moving))
    return Relaxation(
        atoms=freeze(moving),
        converged=converged,
        steps=step,
        energy=float(moving.get_potential_energy()),
        energy_start=start,
        fmax=_largest_force(moving),
        seconds=time.perf_counter() - started,
    )


@contextmanager
def _quiet_logarithms() -> Iterator[None]:
    """Keep SciPy from telling of errors below 1e-9 in the logarithms of cells."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"logm result may be inaccurate.*e-1\d$")
        yield


def _values(atoms: Atoms) -> dict[str, float]:
    energy = float(atoms.get_potential_energy())
    return {"energy": energy, "fmax": _largest_force(atoms)}


def _largest_force(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def _iterate(
    atoms: Atoms, optimizer: str, fmax: float, steps: int, cell: bool
) -> Iterator[bool]:
    """Whether it converged: before the first step, then after each."""
    from ase import optimize
    from ase.filters import FrechetCellFilter

    target: Any = FrechetCellFilter(atoms) if cell else atoms
    method = getattr(optimize, OPTIMIZERS[optimizer])
    return method(target, logfile=None).irun(fmax=fmax, steps=steps)


def _check_options(
    atoms: Atoms,
    fmax: float,
    steps: int,
    optimizer: str,
    cell: bool,
    trajectory: str | Path | None,
    resume: bool,
) -> None:
    if optimizer not in OPTIMIZERS:
        raise ValueError(
            f"unknown optimizer {optimizer!r}; choose from {', '.join(OPTIMIZERS)}"
        )
    require_numbers(above=0, fmax=fmax)
    require_counts(steps=steps)
    if cell and not atoms.pbc.all():
        raise ValueError(
            "relaxing the cell needs a structure that is periodic in three "
            f"directions; this one has pbc = {atoms.pbc.tolist()}"
        )
    if resume and trajectory is None:
        raise ValueError("resume needs the trajectory of the run to resume")
