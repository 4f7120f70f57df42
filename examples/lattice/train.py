"""Train the lattice-energy predictor on molecules beside each other and on crystals.

    python examples/lattice/train.py runs/lattice \
        --aggregates runs/apart runs/cut runs/dimers --crystals runs/two-body

Aggregates are those of `interactions.py` and `two_body.py`, crystals those of
`two_body.py` or `label.py`, of one level of theory; either may be left out. Held out is
whatever has a molecule of one in six formulas, in crystals and aggregates alike, so
that no isomer of a molecule that is tested has been learned. The same command goes on
after any stop. With ``--minutes 0`` the weights of ``--start`` are measured.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import shlex
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ase.symbols import Symbols
from crystal_labels import Labelled, read_labelled
from timed import TimedRun
from torch import Tensor
from torch.nn.functional import huber_loss

from equicalc._version import __version__
from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.crystals.agreement import expected_errors, rank_correlation
from equicalc.graph import molecule_edges
from equicalc.models import LatticeConfig, LatticeNetwork
from equicalc.models.lattice_graph import LatticeGraph
from equicalc.units import KJ_PER_MOL

logger = logging.getLogger("train")

ELEMENTS = (1, 6, 7, 8, 9, 16, 17)
RATE = 4e-3
AGGREGATES, CRYSTALS = 48, 8  # in a batch
PER_CRYSTAL = 1.5  # batches of aggregates for each one of crystals
REPEATS = 5  # of the crystals in a round
LARGEST = 20.0  # kJ/mol per molecule: more repulsive ones are left out
KNEES = {
    True: 2.0,
    False: 1.0,
}  # kJ/mol, where the loss gets linear; of crystals, others
EVERYTHING = 1e3  # Angstrom
HELD_OUT = 6  # every so manieth formula
TESTED = 400  # aggregates

Sample = tuple[LatticeGraph, Tensor]  # energies in kJ/mol per molecule
Make = Callable[[], Sample]


def main() -> None:
    """Train until the time is up; write the running average and its errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--aggregates", type=Path, nargs="*", default=[])
    parser.add_argument("--crystals", type=Path, nargs="*", default=[])
    parser.add_argument("--start", type=Path, help="checkpoint to start from")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--members", type=int, default=2)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(0)
    config = LatticeConfig(ELEMENTS, members=chosen.members, limited=True)
    model: Any = LatticeNetwork(config)
    if chosen.start:
        model, _ = load_checkpoint(chosen.start)
    files = [f for folder in chosen.aggregates for f in sorted(folder.glob("*.npz"))]
    learn, test = parted(
        one for file in files if file.stat().st_size for one in aggregates(file)
    )
    crystals = [one for folder in chosen.crystals for one in read_labelled(folder)]
    crystals = [one for one in crystals if one.energy < LARGEST]
    unseen = [one for one in crystals if held_out(one.graph)]
    seen = [one for one in crystals if not held_out(one.graph)]
    logger.info(
        "%d aggregates, %d crystals; held out %d, %d",
        *map(len, (learn, seen, test, unseen)),
    )
    test = test[:: 1 + len(test) // TESTED]
    theories = ["GFN2-xTB aggregates"] if learn else []
    theories += sorted({f"crystals: {one.method}" for one in crystals})
    run = TimedRun(model, chosen.output / "last.pt", 60 * chosen.minutes, RATE)
    rng = np.random.default_rng(run.steps)
    metrics: dict[str, Any] = errors(model, test, unseen)
    logger.info("before: %s", json.dumps(metrics))
    while run.left():
        batches = shuffled(learn, seen, rng)
        run.round(batches, partial(loss, model))
        metrics = errors(cast(LatticeNetwork, run.average), test, unseen)
        logger.info("%.0f s, step %d: %s", run.used, run.steps, json.dumps(metrics))
    run.save()
    card = {
        "level_of_theory": "; ".join(theories),
        "licence": "MIT",
        "training_data": f"{len(seen)} random crystals of "
        f"{len({one.number for one in seen})} molecules; {len(learn)} dimers, clusters "
        "and cut-outs of such crystals",
        "limits": "rigid neutral molecules like those of QM9, FreeSolv and ESOL; "
        "interaction energies only",
        "command": shlex.join(["python", *sys.argv]),
        "version": __version__,
        "steps": run.steps,
        "metrics": {"unseen": metrics},
    }
    if unseen:
        average = cast(LatticeNetwork, run.average)
        samples = [one.sample() for one in unseen]
        card["spread"] = expected_errors(*answers(average, samples))
    save_checkpoint(chosen.output / "lattice.safetensors", run.average, card)


def aggregates(file: Path) -> Iterator[Sample]:
    """Aggregates of a part, each a graph with its interaction per molecule."""
    part = np.load(file)
    first = np.concatenate([[0], np.cumsum(part["n_atoms"])])
    energies = (part["energy"] - part["apart"]) / KJ_PER_MOL
    for row, total in enumerate(energies):
        atoms = slice(*first[row : row + 2])
        owner = part["owner"][atoms]
        energy = total / (owner.max() + 1)
        if energy < LARGEST and owner.max() > 0:
            order = np.argsort(owner, kind="stable")
            z, pos = part["z"][atoms][order], part["pos"][atoms][order]
            graph = aggregate(z, pos, owner[order])
            yield graph, torch.tensor([energy], dtype=torch.float32)


def aggregate(z: np.ndarray, pos: np.ndarray, owner: np.ndarray) -> LatticeGraph:
    """Molecules beside each other as a crystal without symmetry and periodicity."""
    place = torch.as_tensor(pos, dtype=torch.float32)
    src, dst = molecule_edges(place, torch.tensor([0, len(z)]), EVERYTHING)
    molecule = torch.as_tensor(owner)
    src, dst = (ends[molecule[src] != molecule[dst]] for ends in (src, dst))
    n = int(owner.max()) + 1
    return LatticeGraph(
        z=torch.as_tensor(z.astype(np.int64)),
        pos=place,
        molecule=molecule.long(),
        weight=torch.full((n,), 1 / n),
        crystal=torch.zeros(n, dtype=torch.int64),
        src=src,
        dst=dst,
        vectors=place[src] - place[dst],
        image=torch.zeros(len(src), dtype=torch.int64),
        rotations=torch.eye(3).unsqueeze(0),
        periodic=torch.tensor([False]),
    )


def parted(samples: Iterable[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Those to learn, and those that are held out."""
    parts: tuple[list[Sample], list[Sample]] = [], []
    for one in samples:
        parts[held_out(one[0])].append(one)
    return parts


def held_out(graph: LatticeGraph) -> bool:
    """Whether a molecule has one of the formulas that are held out."""
    formulas = {
        str(Symbols(graph.z[graph.molecule == one].numpy()).formula.convert("hill"))
        for one in range(len(graph.weight))
    }
    return any(zlib.crc32(name.encode()) % HELD_OUT == 0 for name in formulas)


def shuffled(
    learn: Sequence[Sample], seen: Sequence[Labelled], rng: np.random.Generator
) -> list[Make]:
    """Batches in random order: all crystals some times, and aggregates with them."""
    together = blocks(rng.permutation(len(learn)), AGGREGATES)
    crystals = [
        rows
        for _ in range(REPEATS)
        for rows in blocks(rng.permutation(len(seen)), CRYSTALS)
    ]
    if crystals:
        together = together[: round(PER_CRYSTAL * len(crystals))]
    makes = [partial(collated, [learn[i] for i in rows]) for rows in together]
    makes += [partial(collated, [seen[i].sample() for i in rows]) for rows in crystals]
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
    knee = KNEES[bool(graph.periodic[0])]
    return huber_loss(members, energies.expand_as(members), delta=knee) / knee


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
    if unseen:
        given, made = evaluated(model, [one.sample() for one in unseen])
        numbers = np.array([one.number for one in unseen])
        found["Spearman"] = rank_correlation(numbers, made, given) or math.nan
        found["crystals"], found["molecules"] = len(unseen), len(set(numbers.tolist()))
    return found


def evaluated(
    model: LatticeNetwork, samples: Sequence[Sample]
) -> tuple[np.ndarray, np.ndarray]:
    """Given and predicted energies, kJ/mol."""
    given, members = answers(model, samples)
    return given, members.mean(0)


def answers(
    model: LatticeNetwork, samples: Sequence[Sample]
) -> tuple[np.ndarray, np.ndarray]:
    """Given energies (n,) and those of the members (n_members, n), kJ/mol."""
    made = []
    with torch.no_grad():
        for rows in blocks(np.arange(len(samples)), AGGREGATES):
            graph, _ = collated([samples[i] for i in rows])
            made.append(model(graph)["members"] / KJ_PER_MOL)
    given = torch.cat([energy for _, energy in samples])
    return given.numpy(), torch.cat(made, 1).numpy()


if __name__ == "__main__":
    main()
