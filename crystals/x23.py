"""The X23 benchmark: lattice energies of 23 molecular crystals.

References
----------
A. Otero-de-la-Roza, E. R. Johnson, J. Chem. Phys. 137, 054103 (2012);
A. M. Reilly, A. Tkatchenko, J. Chem. Phys. 139, 024705 (2013); the diffusion Monte
Carlo energies: F. Della Pia et al., Phys. Rev. Lett. 133, 046401 (2024).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import numpy as np

from .crystal import MolecularCrystal
from .errors import CrystalError
from .methods import Method

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "OTHERS",
    "BenchmarkRow",
    "ReferenceCrystal",
    "evaluate_x23",
    "plot_x23",
    "read_x23",
]

STRUCTURES = "x23_structures.extxyz"
REFERENCES = "x23_reference.json"
SOURCE = "mace_tests_POSCAR"  # complete and consistent; others lack hexamine

#: Mean absolute errors of other methods against the same reference, kJ/mol.
OTHERS = MappingProxyType(
    {
        "vdW-DF2": 4.4,
        "PBE-MBD": 4.7,
        "PBE-D3": 6.0,
        "MACE-MPA-0": 37.5,
        "MACE-MPA-0+D3": 78.8,
    }
)


@dataclass(frozen=True)
class ReferenceCrystal:
    """A crystal of the set.

    Attributes
    ----------
    name
        Of the molecule.
    solid, gas
        Structures of crystal and molecule.
    dmc, dmc_error
        Lattice energy by diffusion Monte Carlo and its statistical error, kJ/mol.
    experiment
        From sublimation enthalpies (X23b), kJ/mol.
    """

    name: str
    solid: Atoms
    gas: Atoms
    dmc: float
    dmc_error: float
    experiment: float


@dataclass(frozen=True)
class BenchmarkRow:
    """Result for one crystal; energies in kJ/mol per molecule, nan where it failed."""

    name: str
    dmc: float
    energy: float
    interaction: float
    strain: float
    message: str = ""

    @property
    def error(self) -> float:
        """Deviation from diffusion Monte Carlo."""
        return self.energy - self.dmc


def read_x23(folder: str | Path) -> list[ReferenceCrystal]:
    """Read structures and reference energies from a folder.

    Parameters
    ----------
    folder
        With ``x23_structures.extxyz`` (``info``: system, phase, source) and
        ``x23_reference.json``.

    Raises
    ------
    ValueError
        If the files are missing or do not belong together.
    """
    from ase.io import read

    folder = Path(folder)
    try:
        references = json.loads((folder / REFERENCES).read_text())
        frames = cast("list[Atoms]", read(folder / STRUCTURES, ":"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} needs {STRUCTURES} and {REFERENCES}: {error}"
        ) from error
    found = {
        (frame.info["system"], frame.info["phase"]): frame
        for frame in frames
        if frame.info.get("source") == SOURCE
    }
    missing = [name for name in references if (name, "solid") not in found]
    if missing:
        raise ValueError(f"{folder / STRUCTURES} has no crystal of {missing[0]}")
    return [
        ReferenceCrystal(
            name=name,
            solid=found[name, "solid"],
            gas=found[name, "molecule"],
            dmc=values["E_latt_DMC_kJmol"],
            dmc_error=values["E_latt_DMC_err"],
            experiment=values["E_latt_X23b_kJmol"],
        )
        for name, values in references.items()
    ]


def evaluate_x23(
    crystals: Sequence[ReferenceCrystal],
    method: Method,
    progress: Callable[[int, str], None] | None = None,
) -> list[BenchmarkRow]:
    """Calculate the lattice energies of the set; a failure stays in its row.

    The molecule of the gas phase is the reference's own, so that errors of the method
    in bond lengths do not count as strain.
    """
    rows = []
    for number, one in enumerate(crystals, 1):
        try:
            solid = MolecularCrystal.from_atoms(one.solid, symprec=0.05)
            gas = one.gas.copy()
            gas.pbc = False
            result = method.evaluate(solid, gas)
            values = (result.energy, result.interaction, result.strain)
            rows.append(BenchmarkRow(one.name, one.dmc, *values))
        except (CrystalError, RuntimeError, ValueError) as error:
            failed = (float("nan"),) * 3
            rows.append(BenchmarkRow(one.name, one.dmc, *failed, message=str(error)))
        if progress is not None:
            progress(number, one.name)
    return rows


def mean_absolute_error(rows: Sequence[BenchmarkRow]) -> float:
    """Against diffusion Monte Carlo, kJ/mol, over the crystals that did not fail."""
    errors = [abs(row.error) for row in rows if not row.message]
    return float(np.mean(errors)) if errors else float("nan")


def plot_x23(
    results: dict[str, list[BenchmarkRow]],
    crystals: Sequence[ReferenceCrystal],
    path: str | Path,
) -> Path:
    """Plot calculated lattice energies against those of diffusion Monte Carlo.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    from equicalc.analysis.plots import require_matplotlib

    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    reference = np.array([one.dmc for one in crystals])
    ends = [1.15 * reference.min(), 0.0]
    axes.plot(ends, ends, color="#a0aec0", lw=0.8)
    experiment = [one.experiment for one in crystals]
    axes.plot(reference, experiment, "x", color="#718096", ms=4, label="experiment")
    for name, rows in results.items():
        label = f"{name}, MAE {mean_absolute_error(rows):.1f}"
        energies = [row.energy for row in rows]
        axes.plot(reference, energies, "o", ms=4, alpha=0.8, label=label)
    axes.set_xlabel("diffusion Monte Carlo / kJ mol⁻¹")
    axes.set_ylabel("calculated / kJ mol⁻¹")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path)
    return Path(path)
