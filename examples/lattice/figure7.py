"""Which embedding of the molecule lets a perceptron predict lattice energies?

    python examples/lattice/figure7.py runs/figure7 -o examples/lattice/results

The perceptron of published crystal embeddings gets the 12 parameters of a crystal and
an embedding of its molecule, both made by `figure7_data.py`, and learns one of the
labels. Molecules are either learned or tested, never both. The same command goes on
after any stop.
"""

from __future__ import annotations

import argparse
import csv
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from figure7_data import ELEMENTS, EMBEDDINGS
from rich.progress import track
from torch.nn.functional import smooth_l1_loss

from equicalc.models import LatticePaper, LatticePaperConfig

logger = logging.getLogger("figure7")

LABELS = ("soft", "exp-6", "MACE")
HELD_OUT = 8  # every eighth molecule is for the test
BATCH, RATE, WEIGHT_DECAY = 256, 1e-3, 0.1

Row = dict[str, str | float | int]


@dataclass(frozen=True)
class Fit:
    """Energies of the test crystals of a fit, kJ/mol.

    Attributes
    ----------
    molecules : (n,)
        Which crystals are of the same molecule.
    given, made : (n,)
        Labels and predictions.
    """

    molecules: np.ndarray
    given: np.ndarray
    made: np.ndarray


def main() -> None:
    """Train one perceptron for each embedding and label; write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("results"))
    parser.add_argument("--labels", nargs="+", default=list(LABELS))
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=25)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    columns = read(chosen.data)
    molecules = columns["molecule"]
    counts = {"crystals": len(molecules), "molecules": len(np.unique(molecules))}
    shape = f"{chosen.depth} x {chosen.width}"
    settings = f"{counts} {shape} {chosen.dropout} {chosen.epochs}"
    rows: list[Row] = []
    fits = {}
    for name in EMBEDDINGS:
        inputs = np.hstack([columns[f"input {name}"], columns["parameters"]])
        for label in chosen.labels:
            kept = chosen.data / "fits" / f"{name} {label} {settings}.npz"
            energies = columns[f"label {label}"]
            fit = learned_once(kept, inputs, energies, molecules, chosen)
            fits[name, label] = fit
            rows.append({"embedding": name, "label": label} | counts | measures(fit))
            logger.info("%s", rows[-1])
    chosen.output.mkdir(parents=True, exist_ok=True)
    with (chosen.output / "figure7.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    plot(fits, chosen.output / "figure7.png")


def read(folder: Path) -> dict[str, np.ndarray]:
    """Columns of all crystals of a folder, and the number of the molecule of each."""
    parts: dict[str, list[np.ndarray]] = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            if "parameters" not in file:  # nothing could be packed
                continue
            found = {
                name: file[name]
                for name in file.files
                if name == "parameters" or name.startswith(("input", "label"))
            }
        found["molecule"] = np.full(len(found["parameters"]), int(path.stem, 16))
        for name, column in found.items():
            parts.setdefault(name, []).append(column)
    return {name: np.concatenate(columns) for name, columns in parts.items()}


def learned_once(
    kept: Path,
    inputs: np.ndarray,
    energies: np.ndarray,
    molecules: np.ndarray,
    chosen: argparse.Namespace,
) -> Fit:
    """Train, unless that was done before."""
    if not kept.exists():
        fit = learned(inputs, energies, molecules, chosen)
        kept.parent.mkdir(exist_ok=True)
        part = kept.with_suffix(".part")
        with part.open("wb") as stream:
            np.savez(stream, **vars(fit))
        part.replace(kept)
    with np.load(kept) as file:
        return Fit(file["molecules"], file["given"], file["made"])


def learned(
    inputs: np.ndarray,
    energies: np.ndarray,
    molecules: np.ndarray,
    chosen: argparse.Namespace,
) -> Fit:
    """Train on most molecules, and predict the energies of the others."""
    torch.manual_seed(0)
    _, place = np.unique(molecules, return_inverse=True)
    test = place % HELD_OUT == 0
    x, y = (torch.as_tensor(one, dtype=torch.float32) for one in (inputs, energies))
    scale = float(y[~test].std())
    network = LatticePaper(
        LatticePaperConfig(
            elements=tuple(sorted(ELEMENTS)),
            means=tuple(x[~test].mean(0).tolist()),
            scales=tuple(x[~test].std(0).clamp(min=1e-6).tolist()),
            mean=float(y[~test].mean()),
            scale=scale,
            width=chosen.width,
            depth=chosen.depth,
            dropout=chosen.dropout,
        )
    )
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY
    )
    rows = torch.as_tensor(np.flatnonzero(~test))
    n_steps = chosen.epochs * max(1, len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    for _ in track(range(n_steps), "Training"):
        some = rows[torch.randint(len(rows), (BATCH,))]
        wrong = (network(x[some])["interaction"] - y[some]) / scale
        loss = smooth_l1_loss(wrong, torch.zeros_like(wrong))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        made = network(x[test])["interaction"]
    return Fit(molecules[test], energies[test], made.double().numpy())


def measures(fit: Fit) -> Row:
    """Errors on unseen molecules, beside those of the best constant.

    ``R_within`` is between deviations from the means of the molecules: how well the
    packings of a molecule are told apart.
    """
    given, made = (less_mean(one, fit.molecules) for one in (fit.given, fit.made))
    constant = np.abs(fit.given - np.median(fit.given)).mean()
    return {
        "test_crystals": len(fit.given),
        "R": round(float(np.corrcoef(fit.given, fit.made)[0, 1]), 3),
        "R_within": round(float(np.corrcoef(given, made)[0, 1]), 3),
        "MAE_kJ/mol": round(float(np.abs(fit.made - fit.given).mean()), 2),
        "MAE_of_a_constant_kJ/mol": round(float(constant), 2),
    }


def less_mean(values: np.ndarray, molecules: np.ndarray) -> np.ndarray:
    """Deviations from the mean of each molecule."""
    _, owner = np.unique(molecules, return_inverse=True)
    means = np.bincount(owner, values) / np.bincount(owner)
    return values - means[owner]


def plot(fits: dict[tuple[str, str], Fit], path: Path) -> None:
    """Draw predicted against given energies, a panel for each fit."""
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(label for _, label in fits))
    size = (2.6 * len(EMBEDDINGS), 2.6 * len(labels))
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    panels = figure.subplots(len(labels), len(EMBEDDINGS), squeeze=False)
    for row, label in enumerate(labels):
        for column, name in enumerate(EMBEDDINGS):
            fit, axes = fits[name, label], panels[row, column]
            axes.plot(fit.given, fit.made, ".", ms=2, alpha=0.4)
            ends = np.quantile(fit.given, [0.002, 0.998])
            axes.plot(ends, ends, color="#a0aec0", lw=0.8)
            axes.set(xlim=ends, ylim=ends)
            axes.set_title(f"{name}, R {measures(fit)['R']:.2f}")
            axes.set_xlabel(f"{label} / kJ mol⁻¹")
            axes.set_ylabel("predicted")
    figure.savefig(path)


if __name__ == "__main__":
    main()
