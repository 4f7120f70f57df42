"""Train the small MACE that labels crystals, within a given time.

    python examples/lattice/train_mace.py runs/mace --labels runs/labels-gfn2-all \
        --molecules runs/apart runs/cut runs/dimers \
        --crystals runs/crystals --crystal-labels runs/two-body --minutes 25

Learns energies and forces of single molecules of a packed data set; of molecules beside
each other (`interactions.py`, `two_body.py`) their interaction and their energies
apart; of crystals (`two_body.py`) the interaction. The learning rate falls to zero as
the time runs out; the same command goes on after any stop. With ``--minutes 0`` the
weights of ``--start`` are measured.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from mace_data import (
    ELEMENTS,
    Part,
    Structures,
    aggregates,
    atom_energies,
    labelled_crystals,
    single_molecules,
)
from timed import TimedRun
from torch import Tensor
from torch_geometric.data import Data

from equicalc._version import __version__
from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.data.packed import PackedDataset
from equicalc.models import evaluate
from equicalc.models.mace import Mace, MaceConfig
from equicalc.units import KJ_PER_MOL

logger = logging.getLogger("train_mace")

ENERGY_SCALE = 0.5  # eV
WEIGHTS = {"forces": 1.0, "energy": 1.0, "interaction": 30.0}
REPEATS = 4  # of the crystals in a round
TESTED = 48  # structures of each part that is held out
CARD = {
    "kind": "MACE potential, labels crystals",
    "level_of_theory": "GFN2-xTB (tblite)",
    "licence": "MIT",
    "training_data": "GFN2-xTB interactions of dimers, clusters, molecules cut out of "
    "random crystals, and of random crystals as sums over pairs of molecules; "
    "conformers, relaxations and thermal structures of single molecules",
    "limits": "neutral closed-shell molecules near equilibrium and their aggregates; "
    "no interactions beyond the cutoff of its two layers",
}


def main() -> None:
    """Train until the time is up; write the running average of the weights."""
    chosen = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    chosen.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    singles, unseen = single_molecules(PackedDataset(chosen.labels))
    model = started(chosen, singles)
    together: list[tuple[Part, bool]] = [*aggregates(chosen.molecules)]
    crystals: list[tuple[Part, bool]] = []
    if chosen.crystals:
        crystals += labelled_crystals(
            chosen.crystals, chosen.crystal_labels, model.cutoff
        )
    learn = [singles, *(part for part, test in together if not test)]
    learn += REPEATS * [part for part, test in crystals if not test]
    test = {
        "aggregates": [part for part, test in together if test],
        "crystals": [part for part, test in crystals if test],
    }
    run = TimedRun(model, chosen.output / "last.pt", 60 * chosen.minutes, chosen.rate)
    metrics = errors(model, unseen, test)
    logger.info("before: %s", metrics)
    while run.left():
        rng = np.random.default_rng(run.steps)
        run.round(shuffled(learn, model.cutoff, rng), partial(loss, model))
        metrics = errors(cast(Mace, run.average), unseen, test)
        logger.info("%.0f s, step %d: %s", run.used, run.steps, metrics)
    run.save()
    card = CARD | {
        "command": shlex.join(["python", *sys.argv]),
        "version": __version__,
        "steps": run.steps,
        "metrics": {"held_out": metrics},
    }
    save_checkpoint(chosen.output / "mace-gfn2.safetensors", run.average, card)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--molecules", type=Path, nargs="+", required=True)
    parser.add_argument("--crystals", type=Path, help="of pack.py")
    parser.add_argument("--crystal-labels", type=Path, help="of two_body.py")
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--start", type=Path, help="checkpoint to start from")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--cutoff", type=float, default=6.0)
    return parser.parse_args()


def started(chosen: argparse.Namespace, singles: Structures) -> Mace:
    """Return a new network, or one that has learned something already."""
    if chosen.start:
        return cast(Mace, load_checkpoint(chosen.start)[0]).train()
    return Mace(
        MaceConfig(
            elements=ELEMENTS,
            cutoff=chosen.cutoff,
            channels=chosen.channels,
            energy_scale=ENERGY_SCALE,
            reference_energies=atom_energies(singles),
        )
    )


def errors(
    model: Mace, molecules: Structures, together: dict[str, list[Part]]
) -> dict[str, float]:
    """Mean absolute errors of what is held out.

    Energies of molecules are compared per atom, interactions per molecule.
    """
    single: dict[str, list[float]] = {"forces": [], "energy": []}
    for rows in blocks(np.arange(len(molecules)), molecules.size):
        terms = losses(model, molecules.batch(rows, model.cutoff))
        for name, found in single.items():
            found.append(1000 * float(terms[name].detach()))
    metrics = {
        "molecules_forces_meV/A": float(np.mean(single["forces"])),
        "molecules_energy_meV/atom": float(np.mean(single["energy"])),
    }
    for kind, parts in together.items():
        wrong, size = [], []
        for part in parts:
            rows = np.arange(len(part))[:: 1 + len(part) // TESTED]
            for some in blocks(rows, part.size):
                graph = part.batch(some, model.cutoff)
                with torch.no_grad():
                    wrong.append(interaction_errors(model, graph)[0])
                size.append(graph["interaction"] / graph["n_molecules"])
        if wrong:
            mean = [float(torch.cat(some).abs().mean()) for some in (wrong, size)]
            metrics[f"{kind}_kJ/mol"] = mean[0] / KJ_PER_MOL
            metrics[f"{kind}_mean_kJ/mol"] = mean[1] / KJ_PER_MOL
    return metrics


def loss(model: Mace, graph: Data) -> Tensor:
    """Weighted sum of the errors of a batch."""
    terms = losses(model, graph)
    return torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()


def losses(model: Mace, graph: Data) -> dict[str, Tensor]:
    """Mean absolute errors: forces, energy per atom, interaction per molecule."""
    sizes = graph["ptr"].diff()
    if "interaction" not in graph:
        found = evaluate(model, graph, ("energy", "forces"), create_graph=True)
        return {
            "forces": (found["forces"] - graph["forces"]).abs().mean(),
            "energy": ((found["energy"] - graph["energy"]) / sizes).abs().mean(),
        }
    wrong, apart = interaction_errors(model, graph)
    terms = {"interaction": wrong.abs().mean()}
    if "apart" in graph:
        terms["energy"] = ((apart - graph["apart"]) / sizes).abs().mean()
    return terms


def interaction_errors(model: Mace, graph: Data) -> tuple[Tensor, Tensor]:
    """Errors per molecule, and the energies of the molecules apart, (n,), eV."""
    found = evaluate(model, graph, ("energy",), create_graph=True)["energy"]
    alone = without_contacts(graph)
    apart = evaluate(model, alone, ("energy",), create_graph=True)["energy"]
    return (found - apart - graph["interaction"]) / graph["n_molecules"], apart


def without_contacts(graph: Data) -> Data:
    """Graph without the edges between molecules."""
    src, dst = graph["edge_index"]
    inside = graph["owner"][src] == graph["owner"][dst]
    inside &= (graph["edge_shift"] == 0).all(dim=1)
    alone = graph.clone()
    alone["edge_index"] = graph["edge_index"][:, inside]
    alone["edge_shift"] = graph["edge_shift"][inside]
    return alone


def shuffled(
    parts: Sequence[Part], cutoff: float, rng: np.random.Generator
) -> list[Callable[[], Data]]:
    """Batches in random order, each of one part."""
    batches = [
        partial(part.batch, rows, cutoff)
        for part in parts
        for rows in blocks(rng.permutation(len(part)), part.size)
    ]
    return [batches[index] for index in rng.permutation(len(batches))]


def blocks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Split rows into blocks of about a size."""
    return np.array_split(rows, max(1, len(rows) // size))


if __name__ == "__main__":
    main()
