"""Which embedding of the molecule lets a perceptron predict lattice energies?

    python examples/lattice/figure7.py runs/crystals runs/labelled -o results

The perceptron of published crystal embeddings gets the 12 parameters of a crystal and
an embedding of its molecule. Labels are those of `label.py` and the soft pair energy of
the same publication. Crystals with one independent molecule in one space group, P1 by
default; molecules are either learned or tested, never both.
"""

from __future__ import annotations

import argparse
import csv
import logging
from pathlib import Path

import numpy as np
import torch
from crystal_labels import read_labelled
from label import readable
from torch import nn

from equicalc.crystals import MolecularCrystal, PaperSoft, pair_energy
from equicalc.crystals.embeddings import EMBEDDINGS, named_embedding
from equicalc.crystals.paper import PaperNetwork, as_tensor, paper_inputs
from equicalc.units import KJ_PER_MOL

logger = logging.getLogger("figure7")

HELD_OUT = 8
EPOCHS, BATCH, RATE, WEIGHT_DECAY = 60, 64, 1e-3, 0.1

Row = dict[str, str | float | int]


def main() -> None:
    """Train one perceptron for each embedding and label; write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crystals", type=Path)
    parser.add_argument("labelled", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("results"))
    parser.add_argument("--embeddings", nargs="+", default=list(EMBEDDINGS))
    parser.add_argument("--group", type=int, default=1)
    parser.add_argument("--most", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--dropout", type=float, default=0.1)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    crystals, numbers, mace = read(
        chosen.crystals, chosen.labelled, chosen.group, chosen.most
    )
    logger.info("%d crystals of %d molecules", len(crystals), len(set(numbers)))
    soft = [pair_energy(one, PaperSoft()).energy / KJ_PER_MOL for one in crystals]
    rows: list[Row] = []
    points = {}
    for name in chosen.embeddings:
        inputs = paper_inputs(crystals, named_embedding(name))
        for label, energies in (("MACE", mace), ("soft pair", np.array(soft))):
            torch.manual_seed(0)
            given, made = learned(inputs, energies, numbers, chosen)
            points[name, label] = given, made
            rows.append({"embedding": name, "label": label} | measures(given, made))
            logger.info("%s", rows[-1])
    chosen.output.mkdir(parents=True, exist_ok=True)
    with (chosen.output / "figure7.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    plot(points, chosen.output / "figure7.png")


def read(
    crystals: Path, labelled: Path, group: int, most: int
) -> tuple[list[MolecularCrystal], np.ndarray, np.ndarray]:
    """Crystals of a group, the numbers of their molecules, and their labels."""
    by_number: dict[str, list[float]] = {}
    for one in read_labelled(labelled):
        by_number.setdefault(one.number, []).append(one.energy)
    found, numbers, energies = [], [], []
    for number, labels in by_number.items():
        if len(found) >= most:
            break
        known, _ = readable(crystals / f"{Path(number).name}.extxyz")
        for one, energy in zip(known, labels):
            if one.spacegroup == group and len(one.molecules) == 1:
                found.append(one)
                numbers.append(number)
                energies.append(energy)
    return found, np.array(numbers), np.array(energies)


def learned(
    inputs: np.ndarray,
    energies: np.ndarray,
    numbers: np.ndarray,
    chosen: argparse.Namespace,
) -> tuple[np.ndarray, np.ndarray]:
    """Train on most molecules; energies of the others, given and predicted."""
    test = numbers % HELD_OUT == 0
    x, y = as_tensor(inputs), as_tensor(energies)
    center, scale = y[~test].mean(), y[~test].std()
    network = PaperNetwork(x[~test], chosen.width, chosen.depth, chosen.dropout)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY
    )
    rows = torch.as_tensor(np.flatnonzero(~test))
    steps = EPOCHS * max(1, len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        some = rows[torch.randint(len(rows), (BATCH,))]
        wrong = network(x[some]) - (y[some] - center) / scale
        optimiser.zero_grad()
        nn.functional.smooth_l1_loss(wrong, torch.zeros_like(wrong)).backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        made = network(x[test]) * scale + center
    return y[test].numpy(), made.numpy()


def measures(given: np.ndarray, made: np.ndarray) -> Row:
    """Errors on unseen molecules, beside those of the best constant."""
    return {
        "test_crystals": len(given),
        "R": float(np.corrcoef(given, made)[0, 1]),
        "MAE_kJ/mol": float(np.abs(made - given).mean()),
        "MAE_of_a_constant_kJ/mol": float(np.abs(given - np.median(given)).mean()),
    }


def plot(
    points: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]], path: Path
) -> None:
    """Draw predicted against given energies, a panel for each pair."""
    from matplotlib.figure import Figure

    labels = sorted({label for _, label in points})
    names = list(dict.fromkeys(name for name, _ in points))
    size = (2.6 * len(names), 2.6 * len(labels))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    panels = figure.subplots(len(labels), len(names), squeeze=False)
    for row, label in enumerate(labels):
        for column, name in enumerate(names):
            given, made = points[name, label]
            axes = panels[row, column]
            axes.plot(given, made, ".", ms=2, alpha=0.6)
            ends = [given.min(), given.max()]
            axes.plot(ends, ends, color="#a0aec0", lw=0.8)
            axes.set_title(f"{name}, R {np.corrcoef(given, made)[0, 1]:.2f}")
            axes.set_xlabel(f"{label} / kJ mol⁻¹")
            axes.set_ylabel("predicted")
    figure.savefig(path)


if __name__ == "__main__":
    main()
