"""New molecules: from nothing, of a given formula, and how good they are."""

import sys

from ase.io import write

from equicalc.analysis import save_picture
from equicalc.generators import Rules, load_builder
from equicalc.generators.metrics import evaluate_molecules

n = 4 if "--quick" in sys.argv else 100

builder = load_builder("symphony")
molecules = builder.generate(n, seed=0)
write("molecules.extxyz", molecules)
save_picture(molecules[0], "molecule.png")
for atoms in molecules[:4]:
    print(atoms.info["molecule"], atoms.get_chemical_formula(), atoms.info["complete"])

table = evaluate_molecules(molecules)
print(f"valid: {table['validity']:.0f} %, different: {table['uniqueness']:.0f} %")

# molecule k of a seed is always the same one
(again,) = builder.generate(1, seed=0, first=2)
print(again.get_chemical_formula() == molecules[2].get_chemical_formula())

isomers = builder.generate(n, rules=Rules(formula="C4H8O", clash=1.25))
print({atoms.get_chemical_formula() for atoms in isomers if atoms.info["complete"]})
