"""Train the lattice-energy predictor on molecules beside each other and on crystals.

    python examples/lattice/train.py runs/lattice --aggregates runs/apart runs/cut \
        --crystals runs/labelled --minutes 20

Aggregates are those of `interactions.py`, crystals those of `label.py`; either may be
left out. Held out are every twentieth part of the aggregates, and the crystals of every
eighth molecule. The same command goes on after any stop.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from crystal_labels import Labelled, read_labelled
from scipy.stats import spearmanr
from timed import TimedRun
from torch import Tensor
from torch.nn.functional import huber_loss

from equicalc._version import __version__
from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.graph import molecule_edges
from equicalc.models import LatticeConfig, LatticeNetwork
from equicalc.models.lattice_graph import LatticeGraph
from equicalc.units import KJ_PER_MOL

logger = logging.getLogger("train")

ELEMENTS = (1, 6, 7, 8, 9, 16, 17)
RATE = 4e-3
AGGREGATES, CRYSTALS = 32, 12  # in a batch
LARGEST = 40.0  # kJ/mol: more repulsive ones are left out
KNEE = 2.0  # kJ/mol, where the loss gets linear
HELD_OUT_PARTS, HELD_OUT_MOLECULES = 20, 8

Sample = tuple[LatticeGraph, Tensor]  # energies in kJ/mol
Make = Callable[[], Sample]


def main() -> None:
    """Train until the time is up; write the running average and its errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--aggregates", type=Path, nargs="*", default=[])
    parser.add_argument("--crystals", type=Path)
    parser.add_argument("--start", type=Path, help="checkpoint to start from")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--members", type=int, default=2)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(0)
    model: Any = LatticeNetwork(LatticeConfig(ELEMENTS, members=chosen.members))
    if chosen.start:
        model, _ = load_checkpoint(chosen.start)
    files = [file for folder in chosen.aggregates for file in sorted(folder.glob("*"))]
    cutoff = model.config.cutoff
    parts = [aggregates(file, cutoff) for file in files if file.suffix == ".npz"]
    learn = [one for i, part in enumerate(parts) if i % HELD_OUT_PARTS for one in part]
    test = [one for part in parts[::HELD_OUT_PARTS] for one in part]
    crystals = read_labelled(chosen.crystals) if chosen.crystals else []
    unseen = [one for one in crystals if one.number % HELD_OUT_MOLECULES == 0]
    seen = [one for one in crystals if one.number % HELD_OUT_MOLECULES]
    logger.info("%d aggregates, %d crystals", len(learn), len(seen))
    run = TimedRun(model, chosen.output / "last.pt", 60 * chosen.minutes, RATE)
    rng = np.random.default_rng(run.steps)
    metrics: dict[str, Any] = {}
    while run.left():
        batches = shuffled(learn, seen, rng)
        run.round(batches, partial(loss, model))
        metrics = errors(cast(LatticeNetwork, run.average), test, unseen)
        logger.info("%.0f s, step %d: %s", run.used, run.steps, json.dumps(metrics))
    run.save()
    card = {
        "level_of_theory": "GFN2-xTB aggregates; crystals: "
        + (crystals[0].method if crystals else "none"),
        "licence": "MIT",
        "training_data": f"{len(learn)} dimers, clusters and cut-outs of random "
        f"crystals, {len(seen)} random crystals",
        "limits": "rigid neutral molecules like those of QM9, FreeSolv and ESOL; "
        "interaction energies only",
        "command": shlex.join(["python", *sys.argv]),
        "version": __version__,
        "steps": run.steps,
        "metrics": {"unseen": metrics},
    }
    save_checkpoint(chosen.output / "lattice.safetensors", run.average, card)


def aggregates(file: Path, cutoff: float) -> list[Sample]:
    """Aggregates of a part, each a graph with its total interaction."""
    part = np.load(file)
    first = np.concatenate([[0], np.cumsum(part["n_atoms"])])
    energies = (part["energy"] - part["apart"]) / KJ_PER_MOL
    found = []
    for row, energy in enumerate(energies):
        atoms = slice(*first[row : row + 2])
        owner = part["owner"][atoms]
        if energy < LARGEST and owner.max() > 0:
            order = np.argsort(owner, kind="stable")
            z, pos = part["z"][atoms][order], part["pos"][atoms][order]
            graph = aggregate(z, pos, owner[order], cutoff)
            found.append((graph, torch.tensor([energy], dtype=torch.float32)))
    return found


def aggregate(
    z: np.ndarray, pos: np.ndarray, owner: np.ndarray, cutoff: float
) -> LatticeGraph:
    """Molecules beside each other as a crystal without symmetry and periodicity."""
    place = torch.as_tensor(pos, dtype=torch.float32)
    src, dst = molecule_edges(place, torch.tensor([0, len(z)]), cutoff)
    molecule = torch.as_tensor(owner)
    src, dst = (ends[molecule[src] != molecule[dst]] for ends in (src, dst))
    n = int(owner.max()) + 1
    return LatticeGraph(
        z=torch.as_tensor(z.astype(np.int64)),
        pos=place,
        molecule=molecule.long(),
        weight=torch.ones(n),
        crystal=torch.zeros(n, dtype=torch.int64),
        src=src,
        dst=dst,
        vectors=place[src] - place[dst],
        image=torch.zeros(len(src), dtype=torch.int64),
        rotations=torch.eye(3).unsqueeze(0),
    )


def shuffled(
    learn: Sequence[Sample], seen: Sequence[Labelled], rng: np.random.Generator
) -> list[Make]:
    """Batches in random order; one of crystals holds few molecules, each often."""
    makes = [
        partial(collated, [learn[i] for i in rows])
        for rows in blocks(rng.permutation(len(learn)), AGGREGATES)
    ]
    order = rng.permutation(len(seen))
    order = order[np.argsort([seen[i].number for i in order], kind="stable")]
    makes += [
        partial(collated, [seen[i].sample() for i in rows])
        for rows in blocks(order, CRYSTALS)
    ]
    return [makes[i] for i in rng.permutation(len(makes))]


def blocks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Split rows into blocks of about a size."""
    return np.array_split(rows, max(1, len(rows) // size)) if len(rows) else []


def collated(samples: Sequence[Sample]) -> Sample:
    """One batch of samples."""
    graphs, energies = zip(*samples)
    return LatticeGraph.collate(graphs), torch.cat(energies)


def loss(model: LatticeNetwork, sample: Sample) -> Tensor:
    """Huber loss of every member, over the spread that the knee sets."""
    graph, energies = sample
    members = model(graph)["members"] / KJ_PER_MOL
    return huber_loss(members, energies.expand_as(members), delta=KNEE) / KNEE


def errors(
    model: LatticeNetwork, test: Sequence[Sample], unseen: Sequence[Labelled]
) -> dict[str, float]:
    """Errors on held-out aggregates, and on crystals of unseen molecules, kJ/mol."""
    found: dict[str, float] = {}
    if test:
        given, made = evaluated(model, test)
        found["aggregates_MAE"] = float(np.abs(made - given).mean())
        found["aggregates_mean"] = float(np.abs(given).mean())
    for name, copies in (("packed", False), ("moved", True)):
        some = [one for one in unseen if one.copy is copies]
        if some:
            given, made = evaluated(model, [one.sample() for one in some])
            found[f"{name}_MAE"] = float(np.abs(made - given).mean())
            found[f"{name}_R"] = float(np.corrcoef(made, given)[0, 1])
            numbers = np.array([one.number for one in some])
            found[f"{name}_Spearman"] = within(numbers, made, given)
    return found


def evaluated(
    model: LatticeNetwork, samples: Sequence[Sample]
) -> tuple[np.ndarray, np.ndarray]:
    """Given and predicted energies, kJ/mol."""
    made = []
    with torch.no_grad():
        for rows in blocks(np.arange(len(samples)), AGGREGATES):
            graph, _ = collated([samples[i] for i in rows])
            made.append(model(graph)["interaction"] / KJ_PER_MOL)
    return torch.cat([energy for _, energy in samples]).numpy(), torch.cat(made).numpy()


def within(numbers: np.ndarray, made: np.ndarray, given: np.ndarray) -> float:
    """Mean rank correlation within the crystals of a molecule."""
    correlations = [
        float(spearmanr(made[numbers == one], given[numbers == one])[0])  # pyright: ignore[reportArgumentType]
        for one in np.unique(numbers)
        if (numbers == one).sum() > 3
    ]
    return float(np.nanmean(correlations))


if __name__ == "__main__":
    main()
