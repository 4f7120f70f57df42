"""Generated molecules, warmed up and relaxed by the shipped potential."""

import sys

import numpy as np
from ase import units
from ase.md.langevin import Langevin

from equicalc import EquiCalculator
from equicalc.generators import load_builder
from equicalc.generators.metrics import evaluate_molecules
from equicalc.simulation import relax

quick = "--quick" in sys.argv
n, steps = (2, 10) if quick else (20, 500)

molecules = load_builder("symphony").generate(n, seed=0, valid_only=True)
relaxed = []
for k, raw in enumerate(molecules):
    atoms = raw.copy()
    atoms.calc = EquiCalculator()
    before = atoms.get_potential_energy()
    # a little heat shakes it out of shallow minima before it is relaxed
    rng = np.random.default_rng(k)
    Langevin(
        atoms, 0.5 * units.fs, temperature_K=300, friction=0.01 / units.fs, rng=rng
    ).run(steps)
    result = relax(atoms, EquiCalculator(), fmax=0.05, steps=20 if quick else 500)
    relaxed.append(result.atoms)
    print(atoms.get_chemical_formula(), f"{result.energy - before:+.3f} eV")

for name, kind in (("raw", molecules), ("relaxed", relaxed)):
    table = evaluate_molecules(kind)
    print(name, f"stable atoms {table['atom_stability']:.1f} %")
