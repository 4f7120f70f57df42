"""Label the crystals of `pack.py` with GFN2-xTB energies of all pairs of molecules.

    python examples/lattice/two_body.py runs/two-body --crystals runs/crystals \
        --dimers runs/dimers

Half the sum of the pairs is the label of a crystal, that of the method ``gfn2-2b`` with
a shorter cutoff and rigid molecules. The pairs themselves are kept as well, in the form
of `interactions.py`. The same command goes on after any stop.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from crystal_labels import Labelled, write_labelled
from interactions import save
from label import CUTOFF, readable

from equicalc.calculators.named import named_calculator
from equicalc.crystals import MolecularCrystal
from equicalc.crystals.graphs import crystal_graph
from equicalc.crystals.lattice import distinct_dimers
from equicalc.units import KJ_PER_MOL

logger = logging.getLogger("two_body")

REACH = 8.0  # Angstrom between the nearest atoms of two molecules
METHOD = "gfn2-2b within 8 Angstrom"


def main() -> None:
    """Label each file that has no labels yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--crystals", type=Path, required=True)
    parser.add_argument("--dimers", type=Path, required=True)
    parser.add_argument("--most", type=int, default=8, help="crystals of a molecule")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for folder in (chosen.output, chosen.dimers):
        folder.mkdir(parents=True, exist_ok=True)
    calculator = named_calculator("gfn2")
    for file in sorted(chosen.crystals.glob("*.extxyz")):
        target = chosen.output / f"{file.stem}.safetensors"
        if target.exists() or not file.stat().st_size:
            continue
        crystals, copies = readable(file)
        rows: list[Labelled] = []
        dimers: list[dict[str, Any]] = []
        for one, copy in list(zip(crystals, copies))[: chosen.most]:
            try:
                energy, pairs = labelled(one, calculator)
            except CalculationFailed as error:
                logger.info("%s: %s", file.stem, error)
                continue
            graph = crystal_graph(one, CUTOFF)
            rows.append(Labelled("", copy, graph, energy / KJ_PER_MOL, METHOD))
            dimers += pairs
        if dimers:
            save(chosen.dimers / f"{file.stem}.npz", dimers)
        write_labelled(target, rows)
        logger.info("%s: %d crystals, %d dimers", file.stem, len(rows), len(dimers))


def labelled(
    crystal: MolecularCrystal, calculator: Any
) -> tuple[float, list[dict[str, Any]]]:
    """Interaction energy per molecule (eV), and the dimers that it is made of."""
    posed = [evaluated(molecule, calculator) for molecule in crystal.molecules]
    alone = np.repeat([energy for energy, _ in posed], crystal.multiplicities)
    pairs, total = [], 0.0
    for dimer, neighbour, weight in distinct_dimers(crystal, REACH):
        energy, forces = evaluated(dimer, calculator)
        apart = float(alone[neighbour.center] + alone[neighbour.molecule])
        total += 0.5 * weight * (energy - apart)
        pairs.append(
            {
                "z": dimer.numbers,
                "pos": dimer.positions,
                "owner": np.repeat([0, 1], len(dimer) // 2),
                "energy": energy,
                "forces": forces,
                "apart": apart,
            }
        )
    return total / crystal.n_molecules, pairs


def evaluated(atoms: Atoms, calculator: Any) -> tuple[float, np.ndarray]:
    """Energy (eV) and forces (eV/Angstrom)."""
    atoms = atoms.copy()
    atoms.calc = calculator
    return float(atoms.get_potential_energy()), atoms.get_forces()


if __name__ == "__main__":
    main()
