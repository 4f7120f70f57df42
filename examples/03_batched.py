"""Many molecules at once: one call for all of them, faster than one by one."""

import sys
import time

from equicalc import EquiCalculator
from equicalc.data.smiles import conformers

n = 20 if "--quick" in sys.argv else 200

structures = conformers("CC(C)CC(N)C(=O)O", n, seed=1)
calculator = EquiCalculator()

started = time.perf_counter()
answers = calculator.compute(structures, ["energy", "forces"])
batched = time.perf_counter() - started

started = time.perf_counter()
for atoms in structures:
    calculator.get_potential_energy(atoms)
single = time.perf_counter() - started

energies = [answer["energy"] for answer in answers]
print(f"{len(structures)} conformers of leucine, lowest {min(energies):.4f} eV")
print(f"together {batched:.2f} s, one by one {single:.2f} s")
