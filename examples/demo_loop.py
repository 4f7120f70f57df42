"""The part of the demo that designs: 200 molecules, the best five in crystals."""

import os
import shutil
import time
from pathlib import Path

from equicalc.design import (
    Best,
    Design,
    Embed,
    Generator,
    LatticeEnergy,
    Pack,
    Progress,
    Properties,
    Relax,
    Score,
    Synthesizable,
    Top,
    Unique,
    Valid,
    Workers,
    open_database,
    run,
)
from equicalc.design.report import write_report


def plan(output: Path, calculator: str, quick: bool) -> Design:
    """Polar molecules that are easy to make, in crystals that bind strongly."""
    return Design(
        output=output,
        molecules=6 if quick else 200,
        source=Generator(),
        steps=(
            Valid(),
            Synthesizable(at_most=7.0),
            Unique(),
            Relax(calculator=calculator, fmax=0.1, steps=40),
            Properties(names=("dipole_moment", "gap")),
            Embed(),
            Score(goals={"dipole_moment": 1.0, "sa_score": -1.0}),
            Top(n=1 if quick else 5),
            Pack(spacegroups=(19,) if quick else (2, 14, 19), n=1),
            LatticeEnergy(method="exp6"),
            Score(goals={"lattice_energy": -1.0}),
        ),
        best=Best(n=15, per_molecule=3),
    )


def design(calculator: str, folder: Path, quick: bool) -> Path:
    """Run the loop once, print what happens, and return the report."""
    started = time.perf_counter()
    shutil.rmtree(folder, ignore_errors=True)
    todo = plan(folder, calculator, quick)
    print(f"Generating {todo.molecules} molecules, the best go into crystals.\n")
    stages = []

    def show(now: Progress) -> None:
        if now.stage not in stages:
            stages.append(now.stage)
            seconds = time.perf_counter() - started
            print(f"{seconds:5.0f} s  {now.total:4d}  {now.stage}", flush=True)

    best = run(todo, Workers(1 if quick else min(os.cpu_count() or 1, 8)), show)
    database = open_database(todo)
    page = write_report(database, folder / "report", title="Molecules and crystals")
    seconds = time.perf_counter() - started
    print(
        f"\nDesigned {len(database)} structures in {seconds:.0f} s. The best crystals:"
    )
    for record in best[:5]:
        info = record.atoms.info
        print(
            f"{info['lattice_energy']:8.1f} kJ/mol  {info['density']:.2f} g/cm^3  "
            f"group {info['spacegroup']:2d}  {info['smiles']}"
        )
    return page
