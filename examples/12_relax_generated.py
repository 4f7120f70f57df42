"""Generated molecules, warmed up and relaxed by the shipped potential."""

import sys

from equicalc import EquiCalculator
from equicalc.generators import load_builder
from equicalc.generators.metrics import evaluate_molecules
from equicalc.simulation import molecular_dynamics, relax

quick = "--quick" in sys.argv
n, steps = (2, 10) if quick else (20, 500)

molecules = load_builder("symphony").generate(n, seed=0, valid_only=True)
calculator = EquiCalculator()
relaxed = []
for k, raw in enumerate(molecules):
    # a little heat shakes it out of shallow minima before it is relaxed: 0.5 fs steps
    # of Langevin dynamics at 300 K
    warm = molecular_dynamics(raw, calculator, steps=steps, timestep=0.5, seed=k)
    result = relax(warm.atoms, calculator, fmax=0.05, steps=20 if quick else 500)
    relaxed.append(result.atoms)
    before = warm.history["potential_eV"][0]
    print(raw.get_chemical_formula(), f"{result.energy - before:+.3f} eV")

for name, kind in (("raw", molecules), ("relaxed", relaxed)):
    table = evaluate_molecules(kind)
    print(name, f"stable atoms {table['atom_stability']:.1f} %")
