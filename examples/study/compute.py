"""How long would training have to go on? The error of U0 against the steps trained.

    QM9=qm9 python examples/study/compute.py

Trains the network of configs/qm9-u0.yaml with schedules of its own length, each down
to a learning rate of almost zero, fits MAE = a steps^-b to them and to the shipped
weights, and says where that would reach the published errors. A run that was stopped
goes on, one that is finished is read.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from run import ROOT, RUNS, write_table

from equicalc.checkpoint import load_checkpoint
from equicalc.pretrained import weights_path
from equicalc.training import TrainConfig, load_config, train

STEPS = (400, 800, 1600, 3200)
#: Mean absolute errors of U0 on QM9, meV.
PUBLISHED = {"ARandNet": 14.0, "DimeNet": 8.0}


def trained(base: TrainConfig, n_steps: int) -> float:
    """Train for so many steps, or read what was trained; test MAE in meV."""
    folder = RUNS / "compute" / str(n_steps)
    if not (folder / "metrics.json").is_file():
        train(
            replace(
                base,
                output=str(folder),
                data=replace(base.data, n_test=2000),
                optimizer=replace(base.optimizer, schedule="cosine"),
                stop=replace(base.stop, max_steps=n_steps, max_time=None),
            )
        )
    metrics = json.loads((folder / "metrics.json").read_text())
    return 1000 * metrics["test"]["U0"]["mae"]


def draw(path: Path, points: np.ndarray, slope: float, level: float) -> None:
    """Errors against steps, the fitted line, and the published errors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    last = (min(PUBLISHED.values()) / np.exp(level)) ** (1 / slope)
    line = np.geomspace(points[0, 0], last, 50)
    axes.loglog(line, np.exp(level) * line**slope, "--", color="C7", lw=1)
    axes.loglog(*points.T, "o")
    for name, error in PUBLISHED.items():
        axes.axhline(error, color="C1", lw=0.8)
        axes.annotate(name, (points[0, 0], error), va="bottom", color="C1")
    axes.set(xlabel="steps of 32 molecules", ylabel="test MAE of U0, meV")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description="Error of U0 against steps.")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--results", type=Path, default=RUNS / "results")
    given = parser.parse_args()
    base = load_config(ROOT / "configs" / "qm9-u0.yaml")
    rows = [(n, trained(base, n)) for n in given.steps]
    card = load_checkpoint(weights_path("qm9-u0"))[1]
    rows.append((card["steps"], 1000 * card["metrics"]["test"]["U0"]["mae"]))
    points = np.array(rows, dtype=float)
    log_steps, log_errors = np.log(points).T
    slope, level = np.polyfit(log_steps, log_errors, 1)
    table = [{"steps": int(n), "mae_meV": round(e, 2), "kind": "run"} for n, e in rows]
    for name, error in PUBLISHED.items():
        needed = (error / np.exp(level)) ** (1 / slope)
        table.append(
            {"steps": round(needed), "mae_meV": error, "kind": f"fit reaches {name}"}
        )
    write_table(given.results / "compute.csv", table)
    draw(given.results / "compute.png", points, slope, level)
    print(*table, f"MAE ~ steps^{slope:.2f}", sep="\n")


if __name__ == "__main__":
    main()
