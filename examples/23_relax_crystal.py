"""Relax a crystal, atoms and cell, with the predictor as an ASE calculator.

The interaction of the molecules is predicted; the molecules themselves are those of the
shipped potential. The same for files: `equicalc crystals relax urea.cif`.
"""

import argparse
from typing import cast

from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from equicalc.crystals import LatticeEnergyPredictor, MolecularCrystal, random_crystals
from equicalc.units import KJ_PER_MOL

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--quick", action="store_true", help="only a few steps")
steps = 3 if parser.parse_args().quick else 100

predictor = LatticeEnergyPredictor.from_pretrained()
(crystal,) = random_crystals("NC(=O)N", spacegroup=2, n=1)
atoms = crystal.to_atoms()
atoms.calc = predictor.as_calculator()
before = atoms.get_potential_energy()
cell_and_atoms = cast(Atoms, FrechetCellFilter(atoms))
BFGS(cell_and_atoms, logfile="relax.log").run(fmax=0.05, steps=steps)

gained = (atoms.get_potential_energy() - before) / crystal.n_molecules / KJ_PER_MOL
relaxed = MolecularCrystal.from_atoms(atoms, symprec=0.05)
print(f"energy {gained:.2f} kJ/mol per molecule")
print(f"density {crystal.density:.3f} -> {relaxed.density:.3f} g/cm3")
(interaction,) = predictor.predict([relaxed])
print(f"space group {relaxed.spacegroup}, interaction {interaction:.1f} kJ/mol")
