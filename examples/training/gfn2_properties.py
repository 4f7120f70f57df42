"""Dipole moments and frontier orbitals of QM9's molecules at the level of GFN2-xTB.

    python examples/training/gfn2_properties.py qm9 qm9-gfn2

QM9 is a folder that `equicalc data qm9` writes. The molecules of each part are drawn
by a seed; what is labelled is kept chunk by chunk, so that a stopped run goes on.
The packed sets hold `mu` (Debye), `homo`, `lumo` and `gap` (eV).
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import Bohr, Debye, Hartree
from tblite.interface import Calculator
from tqdm import tqdm

from equicalc.data.arrays import read_npz
from equicalc.data.packed import PackedDataset
from equicalc.data.packing import write_packed
from equicalc.workers import Workers

CHUNK = 500

Labels = Callable[..., Mapping[str, Any]]


def orbitals(z: np.ndarray, pos: np.ndarray) -> dict[str, float]:
    """Dipole moment and frontier orbitals of a closed-shell molecule."""
    calculator = Calculator("GFN2-xTB", z, pos.astype(float) / Bohr)
    calculator.set("verbosity", 0)
    result = calculator.singlepoint()
    levels = Hartree * result.get("orbital-energies")
    n_occupied = round(result.get("orbital-occupations").sum() / 2)
    homo, lumo = levels[n_occupied - 1 : n_occupied + 1].tolist()
    dipole = np.linalg.norm(result.get("dipole")) * Bohr / Debye
    return {"mu": float(dipole), "homo": homo, "lumo": lumo, "gap": lumo - homo}


def molecule(dataset: PackedDataset, row: int) -> dict[str, np.ndarray]:
    """Atomic numbers and positions (Angstrom)."""
    graph = dataset[row]
    return {"z": graph["z"].numpy(), "pos": graph["pos"].numpy()}


def label(dataset: PackedDataset, labels: Labels, job: tuple[np.ndarray, Path]) -> None:
    """Label some molecules, unless that was done before."""
    rows, file = job
    if not file.is_file():
        table = [labels(**molecule(dataset, row)) for row in rows]
        columns: dict[str, Any] = {k: [r[k] for r in table] for k in table[0]}
        part = file.with_suffix(".partial.npz")
        np.savez(part, rows=rows, **columns)
        part.rename(file)


def records(dataset: PackedDataset, files: list[Path]) -> Iterator[dict[str, Any]]:
    """What a packed set stores of labelled molecules."""
    for file in files:
        labels = read_npz(file)
        for k, row in enumerate(labels.pop("rows")):
            values = {name: column[k] for name, column in labels.items()}
            yield molecule(dataset, row) | values


def main() -> None:
    label_qm9(orbitals, "Label QM9 by GFN2-xTB.", (40000, 1000, 4000))


def label_qm9(labels: Labels, description: str, molecules: Sequence[int]) -> None:
    """Label and pack the parts of QM9, as the command line of a script asks."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("qm9", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--molecules",
        type=int,
        nargs=3,
        default=molecules,
        help="of training, validation and test",
    )
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: all cores")
    given = parser.parse_args()
    for part, n in zip(("valid", "test", "train"), np.roll(given.molecules, -1)):
        dataset = PackedDataset(given.qm9 / part)
        rows = np.random.default_rng(0).permutation(len(dataset))[:n]
        chunks = given.output / "chunks" / part
        chunks.mkdir(parents=True, exist_ok=True)
        jobs = [
            (rows[k : k + CHUNK], chunks / f"{k:06d}.npz")
            for k in range(0, len(rows), CHUNK)
        ]
        with Workers(given.jobs) as workers:
            done = workers.map(partial(label, dataset, labels), jobs)
            for _ in tqdm(done, desc=part, total=len(jobs)):
                pass
        if not (given.output / part).exists():
            meta = {
                "level_of_theory": "GFN2-xTB at B3LYP geometries",
                "source": f"QM9, labelled by examples/training/{parser.prog}",
                "licence": "MIT; geometries CC0",
            }
            write_packed(
                given.output / part, records(dataset, [file for _, file in jobs]), meta
            )


if __name__ == "__main__":
    main()
