"""Tensors of QM9's molecules at the level of GFN2-xTB, for heads that turn with them.

    python examples/training/gfn2_tensors.py qm9 qm9-tensors

QM9 is a folder that `equicalc data qm9` writes. What is labelled is kept chunk by
chunk, so that a stopped run goes on. The packed sets hold `dipole` (3,), e Angstrom;
`quadrupole` (3, 3), traceless, about the centroid, e Angstrom^2; `polarizability`
(3, 3), Angstrom^3; and `hyperpolarizability` (3, 3, 3), symmetric, in atomic units: the
first and second derivatives of the dipole moment by an electric field, as differences;
the second ones are within about half a percent.
"""

from itertools import combinations_with_replacement, permutations
from typing import Any

import numpy as np
from ase.units import Bohr
from gfn2_properties import label_qm9
from numpy.typing import NDArray
from tblite.interface import Calculator
from tblite.library import ffi

FIELD = 0.002  # atomic units
ACCURACY = 0.01  # of the self-consistency; the default is 1

Array = NDArray[np.float64]


def tensors(z: Array, pos: Array) -> dict[str, Array]:
    """Moments of a closed-shell molecule, and how its dipole moment answers fields."""
    pos = (pos - pos.mean(axis=0)).astype(float) / Bohr
    dipole, quadrupole = moments(z, pos)
    odd, even = np.zeros((3, 3)), np.zeros((3, 3, 3))
    for i, j in combinations_with_replacement(range(3), 2):
        field = np.zeros(3)
        field[[i, j]] = FIELD
        there, back = dipole_in(z, pos, field), dipole_in(z, pos, -field)
        even[i, j] = even[j, i] = (there + back - 2 * dipole) / FIELD**2
        if i == j:
            odd[i] = (there - back) / (2 * FIELD)
    for i, j in permutations(range(3), 2):  # fields along i + j answer by all of them
        even[i, j] = (even[i, j] - even[i, i] - even[j, j]) / 2
    turned = [even.transpose(order) for order in permutations(range(3))]
    return {
        "dipole": dipole * Bohr,
        "quadrupole": quadrupole * Bohr**2,
        "polarizability": (odd + odd.T) / 2 * Bohr**3,
        "hyperpolarizability": np.mean(turned, axis=0),
    }


def moments(z: Array, pos: Array) -> tuple[Array, Array]:
    """Dipole moment, and quadrupole moment as Buckingham defines it; atomic units.

    Sums over atoms: the quadrupole that tblite itself adds up has some off-diagonal
    elements twice.
    """
    found = calculator(z, pos, "xtbml_xyz").singlepoint().get("post-processing-dict")
    charges = found["q_A"]
    dipoles = np.stack([found[f"dipm_A_{k}"] for k in "xyz"], axis=1)
    quadrupole = np.zeros((3, 3))
    for i, j in combinations_with_replacement(range(3), 2):
        element = found[f"qm_A_{'xyz'[i]}{'xyz'[j]}"].sum()
        quadrupole[i, j] = quadrupole[j, i] = element
    mixed = dipoles.T @ pos
    second = (pos.T * charges) @ pos + mixed + mixed.T
    quadrupole += (3 * second - np.trace(second) * np.eye(3)) / 2
    return charges @ pos + dipoles.sum(axis=0), quadrupole


def dipole_in(z: Array, pos: Array, field: Array) -> Array:
    """Dipole moment in an electric field; atomic units."""
    given = ffi.new("double[3]", field.tolist())
    return calculator(z, pos, "electric-field", given).singlepoint().get("dipole")


def calculator(z: Array, pos: Array, *more: Any) -> Any:
    """GFN2-xTB of a molecule, with a field or other results."""
    made: Any = Calculator("GFN2-xTB", z, pos)
    made.set("verbosity", 0)
    made.set("accuracy", ACCURACY)
    made.add(*more)
    return made


def main() -> None:
    label_qm9(tensors, "Tensors of QM9 by GFN2-xTB.", (3000, 500, 1500))


if __name__ == "__main__":
    main()
