"""Our networks beside published ones on the field's small benchmarks.

    DATA=/folder/of/acac equicalc train configs/acac.yaml
    ...                                      # and 3bpa, rmd17-ethanol, rmd17-aspirin
    python examples/validation/accuracy.py runs

Reads the finished runs of the configurations below and writes errors of the test
structures beside published ones, and the learning curves, to
`examples/validation/results`. What is there of runs that the folder lacks stays.
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
    "acac-pretrained": ("RMSE", "MACE 5.1, NequIP 5.9, BOTNet 6.3 (from scratch)"),
    "acac-finetuned": ("RMSE", "MACE 5.1, NequIP 5.9, BOTNet 6.3 (from scratch)"),
    "3bpa": ("RMSE", "MACE 8.8 at 300 K to 62.0 at 1200 K (other frames)"),
    "rmd17-ethanol": ("MAE", "MACE 2.1"),
    "rmd17-aspirin": ("MAE", "MACE 6.6"),
    "rmd17-aspirin-finetuned": ("MAE", "MACE 6.6 (from scratch)"),
}


def main(runs: Path) -> None:
    """Collect the runs in a folder."""
    errors, curves = _rows("accuracy"), _rows("accuracy_curves")
    found = [name for name in PUBLISHED if (runs / name / "metrics.json").is_file()]
    if not found:
        raise typer.BadParameter(f"{runs} holds none of {', '.join(PUBLISHED)}")
    for name in found:
        curves[name] = [
            {
                "run": name,
                "epoch": round(float(row["epoch"]), 1),
                "minutes": round(float(row["elapsed"]) / 60, 2),
                "forces_rmse": round(float(row["forces_rmse"]), 2),
            }
            for row in _read(runs / name / "valid.csv")
        ]
        errors[name] = [errors_of_test(runs / name, curves[name][-1])]
    for table, rows in ("accuracy", errors), ("accuracy_curves", curves):
        kept = [row for name in PUBLISHED for row in rows.get(name, [])]
        write_table(table, kept)  # meV, meV/Angstrom
    draw(curves)


def errors_of_test(folder: Path, last: dict) -> dict:
    """Return a run's errors of the test structures, beside published ones."""
    measure, published = PUBLISHED[folder.name]
    errors = json.loads((folder / "metrics.json").read_text())["test"]
    return {
        "run": folder.name,
        "test_structures": errors["n_structures"],
        "forces_mae": round(errors["forces"]["mae"], 2),
        "forces_rmse": round(errors["forces"]["rmse"], 2),
        "energy_mae": round(errors["energy"]["mae"], 2),
        "energy_rmse": round(errors["energy"]["rmse"], 2),
        "epochs": round(last["epoch"]),
        "minutes": round(last["minutes"]),
        "published": f"force {measure}: {published}",
    }


def draw(curves: dict[str, list[dict]]) -> None:
    """Draw force errors of the validation structures against training time."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, rows in curves.items():
        minutes, errors = (
            [float(row[key]) for row in rows] for key in ("minutes", "forces_rmse")
        )
        axes.loglog(minutes, errors, "o-", ms=3, label=name)
    axes.set_xlabel("minutes on one core")
    axes.set_ylabel("force RMSE, validation (meV/Å)")
    axes.legend()
    figure.savefig(RESULTS / "accuracy.png", dpi=150)


def _rows(table: str) -> dict[str, list[dict]]:
    """Rows of a table of results by run; none if there is no such table yet."""
    path, rows = RESULTS / f"{table}.csv", {}
    for row in _read(path) if path.is_file() else []:
        rows.setdefault(row["run"], []).append(row)
    return rows


def _read(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    typer.run(main)
