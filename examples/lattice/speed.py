"""Crystals per second that the predictor scores, reading files excluded.

    python examples/lattice/speed.py runs/crystals

Times are processor times of one thread; analysed means molecules and symmetry found.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ase.io import read

from equicalc.crystals import LatticeEnergyPredictor, MolecularCrystal
from equicalc.crystals.graphs import lattice_graph


def main() -> None:
    """Time analysis, neighbours and network apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crystals", type=Path)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--model", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    files = [file for file in chosen.crystals.glob("*.extxyz") if file.stat().st_size]
    frames: list[Any] = [atoms for file in files[:40] for atoms in read(file, ":")]
    frames = frames[: chosen.n]
    predictor = LatticeEnergyPredictor.from_pretrained(chosen.model)
    crystals = [MolecularCrystal.from_atoms(atoms) for atoms in frames]
    predictor.predict(crystals[:8])
    graph = lattice_graph(crystals[:64], predictor.model.cutoff)
    n_atoms = sum(len(one.molecules[0]) for one in crystals) / len(crystals)
    print(f"{len(crystals)} crystals, {n_atoms:.0f} atoms per molecule; ms each:")
    analysis = timed(lambda: [MolecularCrystal.from_atoms(one) for one in frames])
    print(f"analysed {analysis / len(frames):.2f}")
    print(f"predicted {timed(lambda: predictor.predict(crystals)) / len(crystals):.2f}")
    with torch.no_grad():
        network = timed(lambda: predictor.model(graph))
    print(f"of that in the network {network / graph.n_crystals:.2f}")


def timed(work: Callable[[], object]) -> float:
    """Processor time, ms."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


if __name__ == "__main__":
    main()
