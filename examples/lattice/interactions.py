"""GFN2-xTB energies of molecules beside each other, and of the same molecules apart.

    python examples/lattice/interactions.py runs/apart --labels runs/labels-gfn2-all
    python examples/lattice/interactions.py runs/cut --crystals runs/crystals

The first takes dimers and clusters of a packed data set and calculates their molecules;
the second cuts molecules with some neighbours out of crystals. Both write parts of some
hundred structures, and go on after any stop.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.io import read
from ase.neighborlist import natural_cutoffs, neighbor_list
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from equicalc.calculators.named import named_calculator
from equicalc.crystals import CrystalError, MolecularCrystal
from equicalc.data.packed import PackedDataset

PART = 250
BONDED = 1.15
MOST_ATOMS, NEIGHBOURS, REACH = 50, 12, 5.0  # Angstrom
LARGEST_FORCE = 20.0  # eV/Angstrom


def main() -> None:
    """Write parts until there are enough structures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--labels", type=Path)
    source.add_argument("--crystals", type=Path)
    parser.add_argument("-n", type=int, default=12_000)
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    first = PART * len(list(chosen.output.glob("*.npz")))
    structures = (
        from_labels(chosen.labels, first)
        if chosen.labels
        else from_crystals(chosen.crystals, first)
    )
    calculator = named_calculator("gfn2")
    rows: list[dict[str, Any]] = []
    for done, atoms in enumerate(structures, first + 1):
        try:
            rows.append(labelled(atoms, calculator))
        except CalculationFailed:
            rows.append({})
        if done % PART == 0:
            save(chosen.output / f"{done:06d}.npz", [row for row in rows if row])
            rows = []
        if done >= chosen.n:
            return


def from_labels(folder: Path, first: int) -> Iterator[Atoms]:
    """Dimers and clusters of a packed data set, in random order, with their labels."""
    dataset = PackedDataset(folder)
    kinds = [dataset.meta["kinds"].index(kind) for kind in ("dimer", "cluster")]
    rows = np.flatnonzero(np.isin(dataset.column("kind"), kinds))
    for row in np.random.default_rng(0).permutation(rows)[first:]:
        graph = dataset[int(row)]
        atoms = Atoms(graph["z"].numpy(), positions=graph["pos"].double().numpy())
        atoms.info["energy"] = float(graph["energy"])
        atoms.arrays["forces"] = graph["forces"].numpy()
        yield atoms


def from_crystals(folder: Path, first: int) -> Iterator[Atoms]:
    """One cluster of each crystal: a molecule with one to twelve neighbours."""
    files = sorted(folder.glob("*.extxyz"))
    frames = (
        frame
        for file in files
        if file.stat().st_size
        for frame in cast("list[Atoms]", read(file, ":"))
    )
    for number, frame in enumerate(frames):
        if number >= first:
            yield cut(frame, np.random.default_rng(number))


def cut(frame: Atoms, rng: np.random.Generator) -> Atoms:
    """Cut a molecule with some of its neighbours out of a crystal."""
    try:
        cluster = MolecularCrystal.from_atoms(frame).cluster(REACH)
    except CrystalError:
        return frame[:0]
    owner = cluster.arrays["molecule"]
    size = int((owner == 0).sum())
    most = min(NEIGHBOURS, MOST_ATOMS // size - 1, owner.max())
    if most < 1:
        return frame[:0]
    wanted = rng.choice(np.arange(1, owner.max() + 1), rng.integers(1, most + 1), False)
    return cluster[np.isin(owner, [0, *wanted])]


def labelled(atoms: Atoms, calculator: Any) -> dict[str, Any]:
    """Energies together and apart; nothing if a force is too large."""
    if len(atoms) == 0:
        return {}
    owner = molecules(atoms)
    if "energy" in atoms.info:
        energy, forces = atoms.info["energy"], atoms.arrays["forces"]
    else:
        atoms.calc = calculator
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    if np.abs(forces).max() > LARGEST_FORCE:
        return {}
    apart = 0.0
    for one in range(owner.max() + 1):
        single = Atoms(
            atoms.numbers[owner == one], positions=atoms.positions[owner == one]
        )
        if single.numbers.sum() % 2:
            return {}
        single.calc = calculator
        apart += single.get_potential_energy()
    return {
        "z": atoms.numbers,
        "pos": atoms.positions,
        "owner": owner,
        "energy": energy,
        "forces": forces,
        "apart": apart,
    }


def molecules(atoms: Atoms) -> np.ndarray:
    """Tell which molecule each atom belongs to."""
    i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=BONDED))  # pyright: ignore[reportArgumentType]
    shape = (len(atoms), len(atoms))
    graph = coo_matrix((np.ones(len(i)), (i, j)), shape=shape)
    return connected_components(graph, directed=False)[1]


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write structures end to end, the file whole or not at all."""
    columns: dict[str, Any] = {
        name: np.concatenate([row[name] for row in rows])
        for name in ("z", "pos", "owner", "forces")
    }
    columns |= {
        name: np.array([row[name] for row in rows]) for name in ("energy", "apart")
    }
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **columns, n_atoms=np.array([len(row["z"]) for row in rows]))
    part.replace(path)


if __name__ == "__main__":
    main()
