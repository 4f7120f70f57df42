"""A design that needs no model: chains of carbon that want to be long.

    python toy.py FOLDER [SECONDS]

runs it in a process that can be killed; every structure takes so many seconds.
"""

import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms

from equicalc.design import (
    Design,
    Evolution,
    Rejected,
    Score,
    Source,
    Step,
    Top,
    Unique,
    run,
)


class Chains(Source):
    def fresh(self, numbers, seed):
        return [self._chain(3 + (7 * k + seed) % 5, k) for k in numbers]

    def variant(self, parent, seed):
        if seed % 7 == 0:
            raise ValueError("cannot be varied")
        return self._chain(len(parent) + seed % 4 - 1, seed)

    def _chain(self, n, seed):
        noise = np.random.default_rng(seed).normal(scale=0.05, size=(n, 3))
        return Atoms("C" * n, positions=noise + np.outer(np.arange(n), [1.4, 0, 0]))


class Even(Step):
    chunk = 3
    seconds: float = 0.0

    def each(self, atoms):
        time.sleep(self.seconds)
        if len(atoms) % 2:
            raise Rejected(f"{len(atoms)} atoms")
        atoms = atoms.copy()
        atoms.positions *= 1.01
        branches = int(1e6 * abs(atoms.positions[0, 0])) % 3
        atoms.info["smiles"] = "C" * len(atoms) + "N" * branches
        return [atoms]


class Bend(Step):
    chunk = 2
    expands = True

    def each(self, atoms):
        return [self._bent(atoms, k) for k in range(3)]

    def _bent(self, atoms, k):
        atoms = atoms.copy()
        atoms.rattle(0.1 * k, seed=k)
        atoms.info.update(branch=f"b{k}", bend=float(k))
        return atoms


def long(structures):
    return [len(atoms) + atoms.positions[0, 0] for atoms in structures]


def design(output, rounds=2, seconds=0.0, search=None):
    return Design(
        output=output,
        seed=3,
        rounds=rounds,
        molecules=8,
        source=Chains(),
        steps=[
            Even(seconds=seconds),
            Unique(),
            Bend(),
            Score(function=long),
            Top(n=4),
        ],
        search=search or Evolution(survivors=4, fresh=0.25),
    )


if __name__ == "__main__":
    run(design(Path(sys.argv[1]), seconds=float(sys.argv[2])))
