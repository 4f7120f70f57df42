"""Score packings of a molecule and a file that is no molecular crystal.

Predicted lattice energies, with the errors to expect; what cannot be treated is a row
with the reason. The same for files: `equicalc crystals score *.cif --rank`.
"""

import argparse
from typing import cast

from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from equicalc.crystals import LatticeEnergyPredictor, random_crystals

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--quick", action="store_true", help="only a few crystals")
count = 3 if parser.parse_args().quick else 30

files = []
for number, crystal in enumerate(random_crystals("CC(=O)N", spacegroup=14, n=count)):
    files.append(f"acetamide-{number}.cif")
    write(files[-1], crystal.to_atoms())
files.append("salt.cif")
write(files[-1], bulk("NaCl", "rocksalt", a=5.64))

predictor = LatticeEnergyPredictor.from_pretrained()
crystals = [cast(Atoms, read(file)) for file in files]
rows = predictor.score(crystals, files)
for row in sorted(rows, key=lambda row: int(str(row.get("rank", len(rows))))):
    if row["status"] == "ok":
        energy, std = row["energy_kJ/mol"], row["std_kJ/mol"]
        print(f"{row['rank']:3d} {row['file']:18s} {energy:7.1f} +- {std:.1f} kJ/mol")
    else:
        print(f"  - {row['file']:18s} {row['status']}: {row['message']}")
