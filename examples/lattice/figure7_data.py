"""Crystals in P1 of many molecules, with labels and inputs for `figure7.py`.

    python examples/lattice/figure7_data.py runs/figure7 qm9_smiles.npz --molecules 1000

As published: cells and poses are drawn at random and relaxed a little by Lennard-Jones
energies, the molecule rigid, and copies of the crystals are moved. Each has three
labels, kJ/mol per molecule: the energy of the shipped MACE, exp-6 and Coulomb, and the
soft pair energy of the publication. One file per molecule; the same command goes on
after any stop, and what is there can be learned from at any time.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from pack import draw, moved
from rich.progress import track

from equicalc.crystals import (
    ExpSix,
    LennardJones,
    MolecularCrystal,
    PaperSoft,
)
from equicalc.crystals.embeddings import named_embedding
from equicalc.crystals.mace import load_mace
from equicalc.crystals.minimise import BatchedBFGS
from equicalc.crystals.packing import random_starts
from equicalc.crystals.pairwise import energy_per_molecule
from equicalc.crystals.paper import paper_inputs
from equicalc.crystals.symmetry import operations
from equicalc.data.smiles import atoms_from_smiles, mmff_charges
from equicalc.units import KJ_PER_MOL
from equicalc.workers import Workers

logger = logging.getLogger("figure7_data")

EMBEDDINGS = ("none", "volume", "axes", "mo3enet")
POTENTIALS = {"exp-6": ExpSix(), "soft": PaperSoft()}
ELEMENTS = {1, 6, 7, 8}  # those of exp-6 and of the encoder
LEAST_HEAVY = 4
PACKING = 0.6  # at the start
BLOCKS, STEPS = 3, 15  # of relaxation
CONTACT, PACKINGS = 0.7, (0.45, 0.95)  # of crystals that are kept


def main() -> None:
    """Make the file of each molecule that has none yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("smiles", type=Path, help="file of SMILES")
    parser.add_argument("--molecules", type=int, default=1000)
    parser.add_argument("--packings", type=int, default=5, help="of each molecule")
    parser.add_argument("--copies", type=int, default=1, help="of each packing")
    parser.add_argument("--jobs", type=int, default=1, help="processes; 0: all cores")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    chosen.output.mkdir(parents=True, exist_ok=True)
    jobs = [
        (file, smiles)
        for smiles in draw([chosen.smiles], chosen.molecules)
        if not (file := chosen.output / f"{number(smiles):012x}.npz").exists()
    ]
    make = partial(write, packings=chosen.packings, copies=chosen.copies)
    with Workers(chosen.jobs) as workers:
        for _ in track(workers.map(make, jobs), "Molecules", total=len(jobs)):
            pass


def number(smiles: str) -> int:
    """Give a molecule a number that does not depend on which others there are."""
    return int(hashlib.blake2b(smiles.encode(), digest_size=6).hexdigest(), 16)


def write(job: tuple[Path, str], packings: int, copies: int) -> None:
    """Write the crystals of a molecule, the file whole or not at all."""
    file, smiles = job
    try:
        columns: dict[str, Any] = described(crystals_of(smiles, packings, copies))
    except ValueError as error:
        logger.warning("%s: %s", smiles, error)
        columns = {}
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez(stream, smiles=np.array(smiles), **columns)
    part.replace(file)


def crystals_of(smiles: str, packings: int, copies: int) -> list[MolecularCrystal]:
    """Pack a molecule in P1, and move what was packed."""
    seed = number(smiles) % 2**31
    molecule = atoms_from_smiles(smiles, seed)
    if set(molecule.numbers.tolist()) - ELEMENTS:
        raise ValueError("other elements than H, C, N and O")
    if (molecule.numbers > 1).sum() < LEAST_HEAVY:
        raise ValueError(f"fewer than {LEAST_HEAVY} heavy atoms")
    molecule.set_initial_charges(mmff_charges(molecule))
    rng = np.random.default_rng(seed)
    return [
        one
        for crystal in relaxed(molecule, packings, rng)
        for one in (crystal, *(moved(crystal, rng) for _ in range(copies)))
        if one.contact > CONTACT and PACKINGS[0] < one.packing < PACKINGS[1]
    ]


def relaxed(
    molecule: Atoms, packings: int, rng: np.random.Generator
) -> list[MolecularCrystal]:
    """Draw crystals, and relax cells and poses for some steps."""
    molecule = molecule.copy()
    molecule.positions -= molecule.positions.mean(axis=0)
    potential = LennardJones()
    crystals, x = random_starts(molecule, 1, potential, packings, PACKING, rng)
    search = BatchedBFGS(x)
    for _ in range(BLOCKS):
        crystals.refresh(search.x)
        search.evaluate(crystals)
        for _ in range(STEPS):
            search.step(crystals)
    cells = crystals.cells(search.x).double().numpy()
    found = []
    for cell, pose in zip(cells, crystals.poses(search.x).double().numpy()):
        posed = molecule.copy()
        posed.positions = pose
        found.append(MolecularCrystal(cell, 1, operations(1), (posed,)))
    return found


def described(crystals: list[MolecularCrystal]) -> dict[str, np.ndarray]:
    """Structures, labels and inputs of the crystals of a molecule."""
    if not crystals:
        return {}
    inputs, parameters = paper_inputs(
        crystals, [named_embedding(one) for one in EMBEDDINGS]
    )
    labels = {"label MACE": load_mace().interactions(crystals)}
    labels |= {
        f"label {name}": np.array(
            [energy_per_molecule(one, potential) for one in crystals]
        )
        for name, potential in POTENTIALS.items()
    }
    molecules = [one.molecules[0] for one in crystals]
    return {
        "numbers": molecules[0].numbers,
        "positions": np.array([one.positions for one in molecules]),
        "cells": np.array([one.cell for one in crystals]),
        "parameters": parameters,
        **{f"input {name}": rows for name, rows in zip(EMBEDDINGS, inputs)},
        **{name: energies / KJ_PER_MOL for name, energies in labels.items()},
    }


if __name__ == "__main__":
    main()
