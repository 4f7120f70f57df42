"""Crystals per second: packed, and scored by the predictor; reading files excluded.

    python examples/lattice/speed.py runs/crystals -o examples/lattice/results

Each job is repeated and the best time counts: on a busy machine the others measure its
neighbours. Packing and contact of crystals that are scored are known from the first
time on. ``rate`` is by the clock, ``processor`` the time of all threads together.
Acetanilide, ten heavy atoms, is packed in P1 by one thread: different crystals per
second, of one seed after the other, since a molecule has few good packings in P1.
"""

from __future__ import annotations

import argparse
import csv
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from ase.io import read

from equicalc.crystals import (
    CrystalError,
    LatticeEnergyPredictor,
    MolecularCrystal,
    random_crystals,
)
from equicalc.crystals.graphs import lattice_graph
from equicalc.crystals.predictor import CHUNK
from equicalc.models import LatticeNetwork

logger = logging.getLogger("speed")

REPEATS = 5
PACKED, OF_A_SEED = "CC(=O)Nc1ccccc1", 16  # acetanilide


def main() -> None:
    """Time jobs on crystals that are analysed already, and on plain structures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crystals", type=Path)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--model")
    parser.add_argument("-o", "--output", type=Path, default=Path("results"))
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    predictor = LatticeEnergyPredictor.from_pretrained(chosen.model)
    frames, crystals = readable(chosen.crystals, chosen.n)
    cutoff = cast(LatticeNetwork, predictor.model).cutoff
    jobs: dict[str, Callable[[], object]] = {
        "molecules and symmetry": lambda: [
            MolecularCrystal.from_atoms(one) for one in frames
        ],
        "predict crystals": lambda: predictor.predict(crystals),
        "of that neighbours": lambda: [
            lattice_graph(crystals[start : start + CHUNK], cutoff)
            for start in range(0, len(crystals), CHUNK)
        ],
        "score crystals": lambda: predictor.score(crystals),
        "score structures": lambda: predictor.score(frames),
    }
    rows = [row(job, work, crystals) for job, work in jobs.items()]
    rows.append(packing())
    chosen.output.mkdir(parents=True, exist_ok=True)
    with (chosen.output / "speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def readable(folder: Path, n: int) -> tuple[list[Any], list[MolecularCrystal]]:
    """Structures of some molecules that are crystals, and these."""
    frames: list[Any] = []
    crystals: list[MolecularCrystal] = []
    for file in sorted(folder.glob("*.extxyz")):
        found: Any = read(file, ":") if file.stat().st_size else []
        for atoms in found:
            try:
                crystals.append(MolecularCrystal.from_atoms(atoms))
            except CrystalError:
                continue
            frames.append(atoms)
        if len(frames) >= n:
            break
    return frames[:n], crystals[:n]


def row(
    job: str, work: Callable[[], object], crystals: Sequence[MolecularCrystal]
) -> dict[str, Any]:
    """Time a job and say for what."""
    wall, processor = timed(work)
    n_atoms = sum(len(one.molecules[0]) for one in crystals) / len(crystals)
    found = {
        "job": job,
        "rate_1/s": round(len(crystals) / wall),
        "processor_ms": round(1000 * processor / len(crystals), 2),
        "crystals": len(crystals),
        "atoms_per_molecule": round(n_atoms, 1),
        "threads": torch.get_num_threads(),
    }
    logger.info("%s", found)
    return found


def packing() -> dict[str, Any]:
    """Time what packs molecules, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def packed() -> list[MolecularCrystal]:
        return [
            one
            for seed in range(REPEATS)
            for one in random_crystals(PACKED, 1, OF_A_SEED, seed)
        ]

    found = row("pack different crystals in P1", packed, packed())
    torch.set_num_threads(before)
    return found


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Shortest time by the clock, and of the processor, s."""
    clock, processor = [], []
    for _ in range(REPEATS):
        starts = time.perf_counter(), time.process_time()
        work()
        clock.append(time.perf_counter() - starts[0])
        processor.append(time.process_time() - starts[1])
    return min(clock), min(processor)


if __name__ == "__main__":
    main()
