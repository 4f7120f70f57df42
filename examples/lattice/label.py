"""Label the crystals of `pack.py` with interaction energies, molecule by molecule.

    python examples/lattice/label.py runs/labelled --crystals runs/crystals \
        --model runs/mace/mace-gfn2.safetensors

Energies are those of rigid molecules. The same command goes on after any stop.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import cast

from ase import Atoms
from ase.io import read
from crystal_labels import Labelled, write_labelled

from equicalc.crystals import CrystalError, MolecularCrystal
from equicalc.crystals.graphs import crystal_graph
from equicalc.crystals.mace import load_mace
from equicalc.units import KJ_PER_MOL

logger = logging.getLogger("label")

CUTOFF = 9.0  # Angstrom


def main() -> None:
    """Label each file that has no labels yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--crystals", type=Path, required=True)
    parser.add_argument("--model", help="of load_mace; by default the shipped one")
    parser.add_argument("--most", type=int, help="crystals of a molecule")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    labels = load_mace(f"mace:{chosen.model}" if chosen.model else "mace")
    chosen.output.mkdir(parents=True, exist_ok=True)
    for file in sorted(chosen.crystals.glob("*.extxyz")):
        target = chosen.output / f"{file.stem}.safetensors"
        if target.exists() or not file.stat().st_size:
            continue
        crystals, copies = readable(file, chosen.most)
        energies = labels.interactions(crystals) / KJ_PER_MOL
        rows = [
            Labelled(
                "", copy, crystal_graph(one, CUTOFF), float(energy), labels.version
            )
            for one, copy, energy in zip(crystals, copies, energies)
        ]
        write_labelled(target, rows)
        logger.info("%s: %d crystals", file.stem, len(rows))


def readable(
    file: Path, most: int | None = None
) -> tuple[list[MolecularCrystal], list[bool]]:
    """Crystals of a file, and which are moved copies."""
    crystals, copies = [], []
    for atoms in cast("list[Atoms]", read(file, ":")):
        try:
            crystals.append(MolecularCrystal.from_atoms(atoms, symprec=1e-3))
        except CrystalError as error:  # a copy may have moved into an overlap
            logger.info("%s: %s", file.stem, error)
            continue
        copies.append(bool(atoms.info["copy"]))
    return crystals[:most], copies[:most]


if __name__ == "__main__":
    main()
