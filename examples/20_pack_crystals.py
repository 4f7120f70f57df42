"""Random crystals of a molecule given by SMILES, packed in a space group."""

import sys

from ase.io import write

from equicalc.crystals import random_crystals

count = 3 if "--quick" in sys.argv else 50

crystals = random_crystals("CC(N)=O", spacegroup=14, n=count, seed=1)
for rank, crystal in enumerate(crystals, 1):
    print(
        f"{rank:3d}  {crystal.info['pair_energy']:8.4f} eV  "
        f"packing {crystal.packing:.3f}  density {crystal.density:.3f} g/cm3  "
        f"closest contact {crystal.contact:.2f}"
    )

best = crystals[0]
print("a b c alpha beta gamma  u v w  rotation:", best.parameters().round(3))
write("acetamide.extxyz", [crystal.to_atoms() for crystal in crystals])
write("neighbours.xyz", best.cluster(cutoff=3.0))

# the same on the command line:
#   equicalc crystals build "CC(N)=O" --spacegroup 14 -n 50 -o acetamide.extxyz
