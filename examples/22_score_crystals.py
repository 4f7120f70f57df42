"""Score packings of a molecule and a file that is no molecular crystal.

Predicted lattice energies, with the spread of the networks; what cannot be treated is a
row with the reason. The same for files: `equicalc crystals score *.cif --rank`.
"""

import argparse
from pathlib import Path
from typing import cast

from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from equicalc.crystals import LatticeEnergyPredictor, random_crystals

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--quick", action="store_true", help="only a few crystals")
count = 3 if parser.parse_args().quick else 30

crystals = random_crystals("CC(=O)N", spacegroup=14, n=count)
for number, crystal in enumerate(crystals):
    write(f"acetamide-{number}.cif", crystal.to_atoms())
write("salt.cif", bulk("NaCl", "rocksalt", a=5.64))

files = [*sorted(Path().glob("acetamide-*.cif")), Path("salt.cif")]
predictor = LatticeEnergyPredictor.from_pretrained()
crystals = [cast(Atoms, read(file)) for file in files]
rows = predictor.score(crystals, [file.name for file in files])
for row in sorted(rows, key=lambda row: int(str(row.get("rank", len(rows))))):
    if row["status"] == "ok":
        energy, std = row["energy_kJ/mol"], row["std_kJ/mol"]
        print(f"{row['rank']:3d} {row['file']:18s} {energy:7.1f} +- {std:.1f} kJ/mol")
    else:
        print(f"  - {row['file']:18s} {row['status']}: {row['message']}")
