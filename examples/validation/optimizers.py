"""Muon beside AdamW: errors against time of runs that differ in the optimiser.

    FRAMES=... equicalc train configs/acac-gfn2.yaml
    python examples/validation/optimizers.py runs/muon-38 runs/muon-9 runs/adamw-9

The runs are that configuration with other outputs, times and kinds of optimiser. Their
learning curves go to `examples/validation/results`.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import typer
from tables import RESULTS, write_table


def main(runs: list[Path]) -> None:
    """Collect the runs in some folders."""
    rows = [row for run in runs for row in curve(run)]
    write_table("optimizers", rows)  # meV/Angstrom
    draw(rows)


def curve(run: Path) -> list[dict]:
    """Return the errors of a run's validation structures over its time."""
    begun = json.loads((run / "run.json").read_text())["config"]["optimizer"]
    with (run / "valid.csv").open(newline="") as file:
        return [
            {
                "run": run.name,
                "kind": begun.get("kind", "adamw"),
                "step": row["step"],
                "minutes": round(float(row["elapsed"]) / 60, 1),
                "forces_mae": round(float(row["forces_mae"]), 2),
                "forces_rmse": round(float(row["forces_rmse"]), 2),
            }
            for row in csv.DictReader(file)
        ]


def draw(rows: list[dict]) -> None:
    """Draw force errors against time; a line for each run, a colour for each kind."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    colours = {"adamw": "C0", "muon": "C1"}
    for name in dict.fromkeys(row["run"] for row in rows):
        some = [row for row in rows if row["run"] == name]
        minutes, errors = (
            [row[key] for row in some] for key in ("minutes", "forces_rmse")
        )
        axes.loglog(minutes, errors, "o-", ms=3, color=colours[some[0]["kind"]])
        axes.annotate(name, (minutes[-1], errors[-1]))
    axes.set_xlabel("minutes on one core")
    axes.set_ylabel("force RMSE, validation (meV/Å)")
    figure.savefig(RESULTS / "optimizers.png", dpi=150)


if __name__ == "__main__":
    typer.run(main)
