"""Relax a molecule given by SMILES, then move it at 300 K; both stream to disk."""

import sys

from equicalc import EquiCalculator
from equicalc.analysis import plot_run, save_picture
from equicalc.data.smiles import atoms_from_smiles
from equicalc.simulation import molecular_dynamics, relax

steps = 100 if "--quick" in sys.argv else 4000

start = atoms_from_smiles("NCC(=O)O")
relaxed = relax(start, EquiCalculator(), fmax=0.01, trajectory="glycine.relax.extxyz")
print(f"relaxed in {relaxed.steps} steps to {relaxed.energy:.4f} eV")
save_picture(relaxed.atoms, "glycine.png")

run = molecular_dynamics(
    relaxed.atoms,
    EquiCalculator(),
    steps=steps,
    timestep=0.5,
    temperature=300.0,
    trajectory="glycine.md.extxyz",
    log="glycine.md.csv",
)
print(f"{run.time:.0f} fs at {run.temperature:.0f} K in {run.seconds:.1f} s")
plot_run(run.history, "glycine.md.png", "glycine")

# had the run been stopped, or to make it longer: resume=True and more steps
