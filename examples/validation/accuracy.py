"""Our networks beside published ones on the field's small benchmarks.

    DATA=/folder/of/acac equicalc train configs/acac.yaml
    ...                                      # and 3bpa, rmd17-ethanol, rmd17-aspirin
    python examples/validation/accuracy.py runs

Reads the finished runs of the configurations below and writes errors of the test
structures beside published ones, and the learning curves, to
`examples/validation/results`.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import typer
from tables import RESULTS, write_table

#: Force errors in meV/Angstrom (Batatia et al., arXiv:2205.06643 and NeurIPS 2022).
PUBLISHED = {
    "acac": ("RMSE", "MACE 5.1, NequIP 5.9, BOTNet 6.3"),
    "acac-finetuned": ("RMSE", "MACE 5.1, NequIP 5.9, BOTNet 6.3 (from scratch)"),
    "3bpa": ("RMSE", "MACE 8.8 at 300 K to 62.0 at 1200 K (other frames)"),
    "rmd17-ethanol": ("MAE", "MACE 2.1"),
    "rmd17-aspirin": ("MAE", "MACE 6.6"),
}


def main(runs: Path) -> None:
    """Collect the runs in a folder."""
    rows, curves = [], {}
    for name, (measure, published) in PUBLISHED.items():
        folder = runs / name
        if not (folder / "metrics.json").is_file():
            typer.echo(f"{name}: not trained in {runs}, left out")
            continue
        errors = json.loads((folder / "metrics.json").read_text())["test"]
        with (folder / "valid.csv").open() as file:
            curves[name] = [
                (float(row["epoch"]), float(row["forces_rmse"]), float(row["elapsed"]))
                for row in csv.DictReader(file)
            ]
        epochs, _, seconds = curves[name][-1]
        rows.append(
            {
                "run": name,
                "test_structures": errors["n_structures"],
                "forces_mae": round(errors["forces"]["mae"], 2),
                "forces_rmse": round(errors["forces"]["rmse"], 2),
                "energy_mae": round(errors["energy"]["mae"], 2),
                "energy_rmse": round(errors["energy"]["rmse"], 2),
                "epochs": round(epochs),
                "minutes": round(seconds / 60),
                "published": f"force {measure}: {published}",
            }
        )
    if not rows:
        raise typer.BadParameter(f"{runs} holds none of {', '.join(PUBLISHED)}")
    write_table("accuracy", rows)  # meV, meV/Angstrom
    draw(curves)


def draw(curves: dict[str, list[tuple[float, float, float]]]) -> None:
    """Draw force errors of the validation structures against training time."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, points in curves.items():
        _, errors, seconds = zip(*points)
        axes.loglog([s / 60 for s in seconds], errors, "o-", ms=3, label=name)
    axes.set_xlabel("minutes on one core")
    axes.set_ylabel("force RMSE, validation (meV/Å)")
    axes.legend()
    figure.savefig(RESULTS / "accuracy.png", dpi=150)


if __name__ == "__main__":
    typer.run(main)
