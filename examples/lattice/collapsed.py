"""Crystals where the predictor would have them: relaxed with it, to be labelled.

    python examples/lattice/collapsed.py runs/collapsed --crystals runs/crystals

A predictor that binds too strongly somewhere shows it when crystals are relaxed with
it: they shrink until they are there. Labels of such crystals (`two_body.py`) teach it
better. Cells and molecules of packings are relaxed for some steps; what changed is
written, the crystal half-way and at the end. The same command goes on after any stop.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import read, write
from pack import has

from equicalc.crystals import CrystalError, LatticeEnergyPredictor, MolecularCrystal
from equicalc.simulation import relax

logger = logging.getLogger("collapsed")

STEPS = 25, 50
SYMPREC = 0.02  # Angstrom
CLOSEST = 0.5  # in sums of van der Waals radii
BONDED = "[$([#7;!H0]),$([OX2;H1]),$(C#N)]"  # for hydrogen bonds


def main() -> None:
    """Relax the first packing of each molecule that has a group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--crystals", type=Path, required=True)
    parser.add_argument("--pattern", default=BONDED, help="SMARTS")
    parser.add_argument("--most-atoms", type=int, default=80, help="in a cell")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    chosen.output.mkdir(parents=True, exist_ok=True)
    calculator = LatticeEnergyPredictor.from_pretrained().as_calculator()
    for file in sorted(chosen.crystals.glob("*.extxyz")):
        target = chosen.output / file.name
        if target.exists() or not file.stat().st_size:
            continue
        first: Any = read(file, 0)
        if len(first) > chosen.most_atoms or not has(
            first.info["smiles"], chosen.pattern
        ):
            continue
        frames = on_the_way(first, calculator)
        part = target.with_suffix(".part")
        write(part, frames, format="extxyz")
        part.replace(target)
        change = frames[-1].get_volume() / first.get_volume() - 1 if frames else 0
        logger.info("%s %s: %.0f %%", file.stem, first.info["smiles"], 100 * change)


def on_the_way(first: Atoms, calculator: Any) -> list[Atoms]:
    """Crystals half-way to the minimum and near it; none that fell apart."""
    frames, atoms = [], first
    try:
        for steps in STEPS:
            atoms = relax(atoms, calculator, fmax=0.05, steps=steps, cell=True).atoms
            crystal = MolecularCrystal.from_atoms(atoms, symprec=SYMPREC)
            if crystal.contact > CLOSEST:
                frame = crystal.to_atoms()
                frame.info = first.info | {"copy": True}
                frames.append(frame)
    except CrystalError as error:
        logger.info("%s: %s", first.info["smiles"], error)
    return frames


if __name__ == "__main__":
    main()
