"""Named tolerances of the conformance suite, by the precision of a calculator."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Tolerances:
    """How far results may be off, and the steps of numerical derivatives.

    Attributes
    ----------
    step : float
        Displacement of atoms, Angstrom.
    strain : float
        Deformation of cells.
    gradient : float
        Force against the numerical derivative, eV/Angstrom.
    stress : float
        Stress against the numerical derivative, eV/Angstrom^3.
    energy : float
        Energies of equivalent structures, eV per atom.
    forces : float
        Forces of equivalent structures and their sums, eV/Angstrom.
    smoothness : float
        Energy against integrated force along a path, eV.
    drift : float
        Total energy in molecular dynamics, eV per atom.
    isolation : float
        Energy of two molecules 60 Angstrom apart against twice one, eV. Dipoles still
        interact by 1e-5 eV there.
    """

    step: float
    strain: float
    gradient: float
    stress: float
    energy: float
    forces: float
    smoothness: float = 1e-4
    drift: float = 1e-3
    isolation: float = 1e-4


#: ``float64`` for analytic potentials in double precision, ``float32`` for networks in
#: single precision, ``scf`` for methods that iterate to self-consistency.
TOLERANCES: Mapping[str, Tolerances] = MappingProxyType(
    {
        "float64": Tolerances(
            step=1e-3,
            strain=1e-4,
            gradient=1e-6,
            stress=1e-6,
            energy=1e-9,
            forces=1e-7,
            smoothness=5e-5,
        ),
        "float32": Tolerances(
            step=1e-2,
            strain=2e-3,
            gradient=5e-3,
            stress=5e-4,
            energy=1e-5,
            forces=5e-4,
        ),
        "scf": Tolerances(
            step=5e-3,
            strain=1e-3,
            gradient=2e-4,
            stress=2e-5,
            energy=1e-6,
            forces=5e-4,
        ),
    }
)
