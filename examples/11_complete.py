"""Go on from a fragment; ask what might come next; keep away from what is around."""

import sys

from ase import Atoms
from ase.build import molecule

from equicalc.generators import Rules, load_builder

n = 3 if "--quick" in sys.argv else 50

builder = load_builder("symphony")
pyrrole = molecule("C4H4NH")
carbon = int((pyrrole.numbers == 6).argmax())

# heavy atoms come first: beside hydrogens there would come nothing but hydrogens
for proposal in builder.propose(pyrrole[pyrrole.numbers > 1], 3):
    print(proposal.symbol, "at atom", proposal.focus, proposal.position.round(2))

whole = builder.complete(pyrrole, n, bare=True)
print({atoms.get_chemical_formula() for atoms in whole})
print("placed at", {int(k) for a in whole for k in a.arrays["gen_focus"] if k >= 0})

# a wall that no atom may come near; given atoms stay what and where they are
wall = Atoms("Ar9", [(x, y, -3.5) for x in (-3, 0, 3) for y in (-3, 0, 3)])
rules = Rules(environment=wall, clash=1.25, max_atoms=14)
grown = builder.complete(pyrrole, n, grow_from=[carbon], bare=True, rules=rules)
print(max(len(atoms) for atoms in grown), "atoms at most")
