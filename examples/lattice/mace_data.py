"""What the small MACE learns from: molecules, aggregates of them, and crystals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from crystal_labels import read_labelled
from label import readable
from numpy.typing import NDArray
from torch_geometric.data import Data

from equicalc.data.packed import PackedDataset
from equicalc.graph import collate, make_graph, molecule_edges
from equicalc.units import KJ_PER_MOL

ELEMENTS = (1, 6, 7, 8, 9, 16, 17)
KINDS = {"conformer": 1500, "relaxation": 2000, "normal-mode": 1500, "langevin": 1000}
LARGEST_FORCE = 10.0  # eV/Angstrom
TOUCHING = 5.0  # Angstrom: molecules farther apart teach a short-ranged network little
HIGHEST = 20.0  # kJ/mol per molecule: more repulsive crystals are left out
HELD_OUT = 10  # every so manieth part


class Part(Protocol):
    """Some structures that are put into batches together.

    A batch is a graph with ``owner`` (n_atoms,), the molecule of each atom, the
    ``n_molecules`` of each structure, and one or more labels: ``forces``, ``energy``,
    ``apart``, the energy of the molecules by themselves, and ``interaction``, eV.
    """

    size: int  # of a batch

    def __len__(self) -> int:
        """Count the structures."""
        ...

    def batch(self, rows: NDArray[np.int64], cutoff: float) -> Data:
        """Graph of some structures."""
        ...


@dataclass
class Structures:
    """Molecules or aggregates, end to end.

    ``apart`` is the energy of the molecules by themselves, None for single ones.
    """

    z: np.ndarray
    pos: np.ndarray
    owner: np.ndarray
    forces: np.ndarray
    energy: np.ndarray
    n_atoms: np.ndarray
    apart: np.ndarray | None = None
    size: int = 16

    def __post_init__(self) -> None:
        self.first = np.concatenate([[0], np.cumsum(self.n_atoms)])

    def __len__(self) -> int:
        return len(self.n_atoms)

    def batch(self, rows: NDArray[np.int64], cutoff: float) -> Data:
        """Graph of some structures."""
        atoms = np.concatenate([np.arange(*self.first[i : i + 2]) for i in rows])
        ptr = torch.as_tensor(np.concatenate([[0], np.cumsum(self.n_atoms[rows])]))
        pos = torch.as_tensor(self.pos[atoms], dtype=torch.float32)
        edges = molecule_edges(pos, ptr, cutoff)
        owner = torch.as_tensor(self.owner[atoms])
        graph = Data(
            z=torch.as_tensor(self.z[atoms]).long(),
            pos=pos,
            owner=owner,
            batch=torch.repeat_interleave(torch.arange(len(rows)), ptr.diff()),
            ptr=ptr,
            cell=torch.zeros(len(rows), 3, 3),
            pbc=torch.zeros(len(rows), 3, dtype=torch.bool),
            edge_index=edges,
            edge_shift=torch.zeros(edges.shape[1], 3),
        )
        if self.apart is None:
            graph["forces"] = torch.as_tensor(self.forces[atoms], dtype=torch.float32)
            graph["energy"] = torch.as_tensor(self.energy[rows])
            return graph
        graph["n_molecules"] = owner[ptr[1:] - 1] + 1  # they are numbered in order
        graph["apart"] = torch.as_tensor(self.apart[rows])
        graph["interaction"] = torch.as_tensor((self.energy - self.apart)[rows])
        return graph

    def touching(self) -> NDArray[np.int64]:
        """Rows of aggregates of molecules that are not too far from each other."""
        gaps = np.array([self._gap(row) for row in range(len(self))])
        return np.flatnonzero(gaps < TOUCHING)

    def _gap(self, row: int) -> float:
        """Smallest distance between atoms of different molecules, Angstrom."""
        atoms = slice(*self.first[row : row + 2])
        pos, owner = self.pos[atoms], self.owner[atoms]
        apart = np.linalg.norm(pos[:, None] - pos, axis=-1)
        return float(apart[owner[:, None] != owner].min(initial=np.inf))

    def subset(self, rows: NDArray[np.int64]) -> Structures:
        """Some of the structures."""
        atoms = np.concatenate([np.arange(*self.first[i : i + 2]) for i in rows])
        return Structures(
            z=self.z[atoms],
            pos=self.pos[atoms],
            owner=self.owner[atoms],
            forces=self.forces[atoms],
            energy=self.energy[rows],
            n_atoms=self.n_atoms[rows],
            apart=None if self.apart is None else self.apart[rows],
        )


@dataclass
class Crystals:
    """Crystals whose interaction energies are known, as graphs."""

    graphs: list[Data]
    cutoff: float
    size: int = 2

    def __len__(self) -> int:
        return len(self.graphs)

    def batch(self, rows: NDArray[np.int64], cutoff: float) -> Data:
        """Graph of some crystals."""
        if cutoff != self.cutoff:
            raise ValueError(f"the graphs were made with a cutoff of {self.cutoff}")
        chosen = [self.graphs[row] for row in rows]
        graph = collate(chosen)
        for name in ("owner", "n_molecules", "interaction"):
            graph[name] = torch.cat([one[name] for one in chosen])
        return graph


def aggregates(folders: Sequence[Path]) -> Iterator[tuple[Structures, bool]]:
    """Aggregates of touching molecules by part, and whether a part is held out."""
    for folder in folders:
        for index, file in enumerate(sorted(folder.glob("*.npz"))):
            part = Structures(**np.load(file))
            rows = part.touching()
            if rows.size:
                yield part.subset(rows), index % HELD_OUT == 0


def labelled_crystals(
    packed: Path, labels: Path, cutoff: float
) -> Iterator[tuple[Crystals, bool]]:
    """Crystals of each molecule with the labels of `two_body.py`, as `aggregates`."""
    by_molecule: dict[str, list[float]] = {}
    for one in read_labelled(labels):
        by_molecule.setdefault(one.number, []).append(one.energy)
    for index, (number, energies) in enumerate(sorted(by_molecule.items())):
        crystals, _ = readable(packed / f"{Path(number).name}.extxyz")
        if len(crystals) < len(energies):
            raise ValueError(f"{packed}: molecule {number} has too few crystals")
        graphs = []
        for crystal, energy in zip(crystals, energies):
            if energy > HIGHEST:
                continue
            atoms, n = crystal.to_atoms(), crystal.n_molecules
            pos = atoms.positions.astype(np.float32)
            graph = make_graph(
                atoms.numbers, pos, atoms.cell.array, atoms.pbc, cutoff=cutoff
            )
            graph["owner"] = torch.arange(n).repeat_interleave(len(atoms) // n)
            graph["n_molecules"] = torch.tensor([n])
            graph["interaction"] = torch.tensor([n * energy * KJ_PER_MOL]).double()
            graphs.append(graph)
        if graphs:
            yield Crystals(graphs, cutoff), index % HELD_OUT == 0


def single_molecules(dataset: PackedDataset) -> tuple[Structures, Structures]:
    """Some single molecules of each kind, and a tenth as many to test on.

    None has large forces.
    """
    rng = np.random.default_rng(0)
    learn, test = [], []
    for kind, n in KINDS.items():
        index = dataset.meta["kinds"].index(kind)
        rows = np.flatnonzero(dataset.column("kind") == index)
        learn.append(rng.choice(rows, n, False))
        test.append(np.setdiff1d(rows, learn[-1])[:: len(rows) * 10 // n][: n // 10])
    return _gentle(dataset, learn), _gentle(dataset, test)


def _gentle(dataset: PackedDataset, rows: Sequence[np.ndarray]) -> Structures:
    """Those without large forces."""
    part = dataset.subset(np.concatenate(rows))
    sizes = part.column("n_atoms")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    largest = np.maximum.reduceat(np.abs(part.column("forces")).max(axis=1), starts)
    part = part.subset(largest < LARGEST_FORCE)
    return Structures(
        z=part.column("z"),
        pos=part.column("pos"),
        owner=np.zeros(len(part.column("z")), dtype=np.int64),
        forces=part.column("forces"),
        energy=part.column("energy"),
        n_atoms=part.column("n_atoms"),
    )


def atom_energies(part: Structures) -> tuple[float, ...]:
    """Energies of the elements that fit the structures best, by least squares."""
    atoms = part.z[:, None] == np.array(ELEMENTS)
    counts = np.add.reduceat(atoms, part.first[:-1], axis=0)
    return tuple(np.linalg.lstsq(counts, part.energy, rcond=None)[0].tolist())
