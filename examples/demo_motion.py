"""The part of the demo that moves molecules: relax, 2 ps of dynamics, plots, a page."""

import csv
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import demo_page
from ase import Atoms
from ase.io import read, write

from equicalc.analysis import plot_relaxation, plot_run, save_picture
from equicalc.calculators.named import named_calculator
from equicalc.data.smiles import atoms_from_smiles
from equicalc.simulation import Dynamics, Relaxation, molecular_dynamics, relax
from equicalc.workers import Workers

DATA = Path(__file__).parent / "data"
MOLECULES = {
    "water dimer": DATA / "water_dimer.xyz",
    "ethanol": "CCO",
    "caffeine": DATA / "caffeine.xyz",
    "glycine": "NCC(=O)O",
    "thiophene": "c1ccsc1",
    "1-chloro-2-fluoroethane": "FCCCl",
}
TEMPERATURE = 300.0  # K
TIMESTEP = 1.0  # fs
PICOSECONDS = 2.0


@dataclass
class Outcome:
    """All that the demo has for one molecule."""

    name: str
    origin: str
    relaxation: Relaxation
    dynamics: Dynamics
    files: Path  # their common beginning

    def row(self):
        return {
            "molecule": self.name,
            "from": self.origin,
            "atoms": len(self.relaxation.atoms),
            "relaxed": "yes" if self.relaxation.converged else "no",
            "steps": self.relaxation.steps,
            "energy / eV": f"{self.relaxation.energy:.4f}",
            "gained / meV": f"{1000 * self._gain():.1f}",
            "MD / ps": f"{self.dynamics.time / 1000:.2f}",
            "mean T / K": f"{self.dynamics.temperature:.0f}",
            "ms per step": f"{self._speed():.1f}",
        }

    def _gain(self):
        return self.relaxation.energy_start - self.relaxation.energy

    def _speed(self):
        return 1000 * self.dynamics.seconds / max(self.dynamics.steps, 1)


def load(origin: str | Path) -> Atoms:
    if isinstance(origin, str):
        return atoms_from_smiles(origin)
    return cast("Atoms", read(origin))


def run(name: str, spec: str, steps: int, folder: Path) -> Outcome:
    """Relax, move, plot and draw one molecule."""
    origin = MOLECULES[name]
    calculator = named_calculator(spec)
    files = folder / name.replace(" ", "-")
    energies, forces = [], []

    def note(step: int, now: dict[str, float]) -> None:
        energies.append(now["energy"])
        forces.append(now["fmax"])

    relaxation = relax(
        load(origin),
        calculator,
        fmax=0.01,
        trajectory=f"{files}.relax.extxyz",
        progress=note,
    )
    write(f"{files}.relaxed.xyz", relaxation.atoms)
    dynamics = molecular_dynamics(
        relaxation.atoms,
        calculator,
        steps=steps,
        timestep=TIMESTEP,
        temperature=TEMPERATURE,
        trajectory=f"{files}.md.extxyz",
        log=f"{files}.md.csv",
        every=10,
    )
    plot_relaxation(energies, forces, f"{files}.relax.png", f"{name}: relaxation")
    plot_run(dynamics.history, f"{files}.md.png", f"{name}: {TEMPERATURE:.0f} K")
    save_picture(relaxation.atoms, f"{files}.relaxed.png")
    shown = origin if isinstance(origin, str) else origin.name
    return Outcome(name, shown, relaxation, dynamics, files)


def write_table(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def print_row(row: dict, widths=(24, 16)) -> None:
    cells = [str(value) for value in row.values()]
    padded = [cell.ljust(width) for cell, width in zip(cells, widths)]
    print("  ".join([*padded, *(cell.rjust(11) for cell in cells[2:])]), flush=True)


def move(spec: str, folder: Path, quick: bool) -> Path:
    """Relax and move all molecules, print a table, and return the page."""
    started = time.perf_counter()
    molecules = list(MOLECULES)[: 2 if quick else None]
    picoseconds = 0.1 if quick else PICOSECONDS
    print(
        f"Relaxing {len(molecules)} molecules, then moving each for {picoseconds} ps "
        f"at {TEMPERATURE:.0f} K.\n",
        flush=True,
    )
    steps = round(1000 * picoseconds / TIMESTEP)
    workers = 1 if quick else min(os.cpu_count() or 1, len(molecules))
    outcomes: list[Outcome] = []
    with Workers(workers) as team:
        job = partial(run, spec=spec, steps=steps, folder=folder)
        for outcome in team.map(job, molecules):
            outcomes.append(outcome)
            row = outcome.row()
            if len(outcomes) == 1:
                print_row({key: key for key in row})
            print_row(row)
    outcomes.sort(key=lambda outcome: molecules.index(outcome.name))
    write_table(folder / "table.csv", [outcome.row() for outcome in outcomes])
    page = folder / "index.html"
    seconds = time.perf_counter() - started
    demo_page.write(page, outcomes, repr(named_calculator(spec)), seconds)
    print(f"\nRelaxed and moved {len(outcomes)} molecules in {seconds:.0f} s.")
    return page
