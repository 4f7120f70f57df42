"""The crystals of X23, relaxed with the predictor: how much do they change?

    python examples/lattice/x23_relaxed.py DATA -o examples/lattice/results

A predictor that is right moves crystals of experiments little. Changes of energy and
volume, how much of the interaction the GFN2-xTB pairs that it learned from give
themselves, and what the predictor says against the result, are in x23_relaxed.csv.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from rich.progress import track

from equicalc.crystals import (
    LatticeEnergyPredictor,
    Method,
    MolecularCrystal,
    named_method,
)
from equicalc.crystals.x23 import ReferenceCrystal, read_x23
from equicalc.simulation import relax
from equicalc.units import KJ_PER_MOL


def main() -> None:
    """Relax all, and write a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("-o", "--output", type=Path, default=Path("results"))
    chosen = parser.parse_args()
    predictor = LatticeEnergyPredictor.from_pretrained()
    pairs = named_method("gfn2-2b", None)
    rows = [
        relaxed(one, predictor, pairs, chosen.steps)
        for one in track(read_x23(chosen.data), "Crystals")
    ]
    chosen.output.mkdir(parents=True, exist_ok=True)
    with (chosen.output / "x23_relaxed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def relaxed(
    one: ReferenceCrystal, predictor: LatticeEnergyPredictor, pairs: Method, steps: int
) -> dict[str, object]:
    """Relax atoms and cell of a crystal."""
    before = MolecularCrystal.from_atoms(one.solid, symprec=0.05)
    calculator = predictor.as_calculator()
    done = relax(one.solid, calculator, fmax=0.05, steps=steps, cell=True)
    gain = (done.energy - done.energy_start) / before.n_molecules / KJ_PER_MOL
    after = MolecularCrystal.from_atoms(done.atoms, symprec=0.05)
    new, old = predictor.predict([after, before])
    labels = [pairs.evaluate(each, None).interaction for each in (after, before)]
    growth = done.atoms.get_volume() / before.volume - 1
    return {
        "crystal": one.name,
        "converged": done.converged,
        "change_kJ/mol": round(gain, 2),
        "interaction_change_kJ/mol": round(new - old, 2),
        "of_GFN2_pairs_kJ/mol": round(labels[0] - labels[1], 2),
        "volume_change_%": round(100 * growth, 1),
        "message": "; ".join(predictor.doubts(done.atoms, before)),
    }


if __name__ == "__main__":
    main()
