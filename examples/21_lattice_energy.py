"""Lattice energy of a crystal: by a pair potential, by dimers, by a network."""

import sys

from ase.io import write
from ase.spacegroup import crystal as build

from equicalc.calculators.named import named_calculator
from equicalc.crystals import (
    ExpSix,
    LatticeEnergyPredictor,
    MolecularCrystal,
    assign_charges,
    pair_energy,
    two_body_energy,
)
from equicalc.units import KJ_PER_MOL

# urea at 12 K by neutrons: S. Swaminathan et al., Acta Cryst. B 40, 300 (1984)
urea = build(
    symbols=["C", "O", "N", "H", "H"],
    basis=[
        (0.0, 0.5, 0.3260),
        (0.0, 0.5, 0.5953),
        (0.1459, 0.6459, 0.1766),
        (0.2575, 0.7575, 0.2827),
        (0.1441, 0.6441, -0.0380),
    ],
    spacegroup=113,
    cellpar=[5.565, 5.565, 4.684, 90, 90, 90],
)
write("urea.cif", urea)

crystal = MolecularCrystal.from_file("urea.cif")
print(
    f"space group {crystal.spacegroup}, Z = {crystal.z}, Z' = {crystal.z_prime}, "
    f"{crystal.density:.3f} g/cm3, packing {crystal.packing:.3f}"
)

gfn2 = named_calculator("gfn2")
exp6 = pair_energy(assign_charges(crystal), ExpSix()).energy / KJ_PER_MOL
print(f"exp-6 with charges: {exp6:.1f} kJ/mol per molecule")

cutoff = 3.0 if "--quick" in sys.argv else 10.0
energy = two_body_energy(crystal, gfn2, cutoff=cutoff)
print(
    f"GFN2-xTB pairs within {cutoff} Angstrom: {energy.energy:.1f} kJ/mol "
    f"(interaction {energy.interaction:.1f}, strain {energy.strain:.1f})"
)
print("warnings:", ", ".join(energy.warnings) or "none")

predictor = LatticeEnergyPredictor.from_pretrained()
(interaction,), (error,) = (
    predictor.predict([crystal]),
    predictor.uncertainty([crystal]),
)
print(f"the network: interaction {interaction:.1f} +- {error:.1f} kJ/mol")

# any calculator that knows crystals: lattice_energy(crystal, calculator, "molecule")
