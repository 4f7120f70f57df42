"""Train the small MACE that labels crystals, within a given time.

    python examples/lattice/train_mace.py runs/mace --labels runs/labels-gfn2-all \
        --molecules runs/apart runs/cut --minutes 55

Learns from single molecules of a packed data set, and from molecules beside each other
together with the energies of the same molecules apart (`interactions.py`). The learning
rate falls to zero as the time runs out; the same command goes on after any stop. Parts
that `interactions.py` still adds are used from the next round on.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from timed import TimedRun
from torch import Tensor
from torch_geometric.data import Data

from equicalc._version import __version__
from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.data.packed import PackedDataset
from equicalc.graph import molecule_edges
from equicalc.models import evaluate
from equicalc.models.mace import Mace, MaceConfig
from equicalc.units import KJ_PER_MOL

logger = logging.getLogger("train_mace")

ELEMENTS = (1, 6, 7, 8, 9, 16, 17)
KINDS = {"conformer": 1500, "relaxation": 2000, "normal-mode": 1500, "langevin": 1000}
LARGEST_FORCE = 10.0  # eV/Angstrom
ENERGY_SCALE = 0.5  # eV
BATCH = 16
WEIGHTS = {"forces": 1.0, "energy": 1.0, "interaction": 30.0}
HELD_OUT = 20  # every so manieth part or group
CARD = {
    "kind": "MACE potential, labels crystals",
    "level_of_theory": "GFN2-xTB (tblite)",
    "licence": "MIT",
    "training_data": "GFN2-xTB dimers, clusters and molecules cut out of random "
    "crystals, each with the energies of its molecules apart; conformers, relaxations "
    "and thermal structures of single molecules",
    "limits": "neutral closed-shell molecules near equilibrium and their aggregates; "
    "no interactions beyond the cutoff of its two layers",
}


@dataclass
class Structures:
    """Molecules or aggregates, end to end.

    ``apart`` is the energy of the molecules by themselves, nan for single ones.
    """

    z: np.ndarray
    pos: np.ndarray
    owner: np.ndarray
    forces: np.ndarray
    energy: np.ndarray
    apart: np.ndarray
    n_atoms: np.ndarray

    def __post_init__(self) -> None:
        self.first = np.concatenate([[0], np.cumsum(self.n_atoms)])

    def __len__(self) -> int:
        return len(self.n_atoms)

    def batch(self, rows: np.ndarray, cutoff: float) -> Data:
        """Graph of some structures."""
        atoms = np.concatenate([np.arange(*self.first[i : i + 2]) for i in rows])
        sizes = self.n_atoms[rows]
        ptr = torch.as_tensor(np.concatenate([[0], np.cumsum(sizes)]))
        pos = torch.as_tensor(self.pos[atoms], dtype=torch.float32)
        edges = molecule_edges(pos, ptr, cutoff)
        return Data(
            z=torch.as_tensor(self.z[atoms]).long(),
            pos=pos,
            owner=torch.as_tensor(self.owner[atoms]),
            forces=torch.as_tensor(self.forces[atoms], dtype=torch.float32),
            energy=torch.as_tensor(self.energy[rows]),
            apart=torch.as_tensor(self.apart[rows]),
            batch=torch.repeat_interleave(torch.arange(len(rows)), ptr.diff()),
            ptr=ptr,
            cell=torch.zeros(len(rows), 3, 3),
            pbc=torch.zeros(len(rows), 3, dtype=torch.bool),
            edge_index=edges,
            edge_shift=torch.zeros(edges.shape[1], 3),
        )


def main() -> None:
    """Train until the time is up; write the running average of the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--molecules", type=Path, nargs="+", required=True)
    parser.add_argument("--minutes", type=float, default=55)
    parser.add_argument("--start", type=Path, help="checkpoint to start from")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--cutoff", type=float, default=6.0)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    chosen.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    singles = from_labels(PackedDataset(chosen.labels))
    model = Mace(
        MaceConfig(
            elements=ELEMENTS,
            cutoff=chosen.cutoff,
            channels=chosen.channels,
            energy_scale=ENERGY_SCALE,
            reference_energies=atom_energies(singles),
        )
    )
    if chosen.start:
        started, _ = load_checkpoint(chosen.start)
        model.load_state_dict(started.state_dict())
    seconds = 60 * chosen.minutes
    run = TimedRun(model, chosen.output / "last.pt", seconds, chosen.rate)
    held_out = [part for part, test in parts(chosen.molecules, []) if test]
    metrics: dict[str, float] = {}
    while run.left():
        learn = [part for part, test in parts(chosen.molecules, [singles]) if not test]
        rng = np.random.default_rng(run.steps)
        batches = shuffled(learn, chosen.cutoff, rng)
        run.round(batches, partial(loss, model))
        metrics = errors(cast(Mace, run.average), held_out)
        logger.info("%.0f s, step %d: %s", run.used, run.steps, metrics)
    run.save()
    card = CARD | {
        "command": shlex.join(["python", *sys.argv]),
        "version": __version__,
        "steps": run.steps,
        "metrics": {"held_out": metrics},
    }
    save_checkpoint(chosen.output / "mace-gfn2.safetensors", run.average, card)


def errors(model: Mace, data: list[Structures]) -> dict[str, float]:
    """Mean absolute errors on held-out aggregates."""
    sums: dict[str, list[float]] = {}
    for part in data:
        for rows in np.array_split(np.arange(len(part)), max(1, len(part) // 32)):
            for name, term in losses(model, part.batch(rows, model.cutoff)).items():
                sums.setdefault(name, []).append(float(term.detach()))
    mean = {name: float(np.mean(terms)) for name, terms in sums.items()}
    return {
        "interaction_kJ/mol_per_aggregate": mean["interaction"] / KJ_PER_MOL,
        "energy_meV/atom": 1000 * mean["energy"],
        "forces_meV/A": 1000 * mean["forces"],
    }


def loss(model: Mace, graph: Data) -> Tensor:
    """Weighted sum of the errors of a batch."""
    terms = losses(model, graph)
    return torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()


def losses(model: Mace, graph: Data) -> dict[str, Tensor]:
    """Mean absolute errors: forces, energy per atom, interaction per structure."""
    found = evaluate(model, graph, ("energy", "forces"), create_graph=True)
    sizes = graph["ptr"].diff()
    terms = {
        "forces": (found["forces"] - graph["forces"]).abs().mean(),
        "energy": ((found["energy"] - graph["energy"]) / sizes).abs().mean(),
    }
    if graph["apart"].isfinite().all():
        apart = evaluate(model, without_contacts(graph), ("energy",), create_graph=True)
        wrong = found["energy"] - apart["energy"] - (graph["energy"] - graph["apart"])
        terms["interaction"] = wrong.abs().mean()
        alone = (apart["energy"] - graph["apart"]) / sizes
        terms["energy"] = 0.5 * (terms["energy"] + alone.abs().mean())
    return terms


def without_contacts(graph: Data) -> Data:
    """Graph without the edges between molecules."""
    src, dst = graph["edge_index"]
    inside = graph["owner"][src] == graph["owner"][dst]
    alone = graph.clone()
    alone["edge_index"] = graph["edge_index"][:, inside]
    alone["edge_shift"] = graph["edge_shift"][inside]
    return alone


def shuffled(
    data: list[Structures], cutoff: float, rng: np.random.Generator
) -> list[Callable[[], Data]]:
    """Batches in random order, each of one part."""
    batches = [
        partial(part.batch, rows, cutoff)
        for part in data
        for rows in np.array_split(
            rng.permutation(len(part)), max(1, len(part) // BATCH)
        )
    ]
    return [batches[index] for index in rng.permutation(len(batches))]


def parts(
    folders: list[Path], first: list[Structures]
) -> Iterator[tuple[Structures, bool]]:
    """Aggregates as far as they are there, and whether they are held out."""
    yield from ((part, False) for part in first)
    for folder in folders:
        for index, file in enumerate(sorted(folder.glob("*.npz"))):
            yield Structures(**np.load(file)), index % HELD_OUT == 0


def from_labels(dataset: PackedDataset) -> Structures:
    """Some single molecules of each kind, none with large forces."""
    rng = np.random.default_rng(0)
    kinds = dataset.column("kind")
    chosen = [
        rng.choice(np.flatnonzero(kinds == dataset.meta["kinds"].index(kind)), n, False)
        for kind, n in KINDS.items()
    ]
    part = dataset.subset(np.concatenate(chosen))
    sizes = part.column("n_atoms")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    largest = np.maximum.reduceat(np.abs(part.column("forces")).max(axis=1), starts)
    part = part.subset(largest < LARGEST_FORCE)
    columns = {name: part.column(name) for name in ("z", "pos", "forces", "energy")}
    n_atoms, nothing = part.column("n_atoms"), np.full(len(part), np.nan)
    owner = np.zeros(len(columns["z"]), dtype=np.int64)
    return Structures(**columns, owner=owner, apart=nothing, n_atoms=n_atoms)


def atom_energies(part: Structures) -> tuple[float, ...]:
    """Energies of the elements that fit the structures best, by least squares."""
    atoms = part.z[:, None] == np.array(ELEMENTS)
    counts = np.add.reduceat(atoms, part.first[:-1], axis=0)
    return tuple(np.linalg.lstsq(counts, part.energy, rcond=None)[0].tolist())


if __name__ == "__main__":
    main()
