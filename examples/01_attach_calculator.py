"""Energy, forces and dipole of a molecule with the shipped potential."""

from ase.build import molecule

from equicalc import EquiCalculator

ethanol = molecule("CH3CH2OH")
ethanol.calc = EquiCalculator()

print("energy", ethanol.get_potential_energy(), "eV")
print("forces", ethanol.get_forces(), "eV/Angstrom", sep="\n")
print("dipole", ethanol.get_dipole_moment(), "e Angstrom")
