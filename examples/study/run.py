"""Which degrees does a network need? Short versions of two published studies.

    QM9=qm9 python examples/study/run.py equitriton
    ISOMERS=isomers/all python examples/study/run.py thesis

Each row of a table is one run, in `runs/study`; a row that was stopped goes on, one
that is finished is read. Tables and figures go to `runs/study/results` too. QM9 and
ISOMERS are written by `equicalc data qm9`, see the README beside this file.
"""

import argparse
import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from equicalc.checkpoint import load_checkpoint
from equicalc.training import TrainConfig, load_config, train

ROOT = Path(__file__).parents[2]
RUNS = Path("runs/study")

#: Degrees of the decisive rows of the paper's Table 1.
DEGREES = ([0, 1, 2], [0, 1, 2, 4], [0, 1, 2, 3, 4], [0, 3, 4, 5, 6])
#: Channels of the degrees 0, 1, ...
NETWORKS = {"L0": [32], "L1": [32, 32], "L2": [32, 32, 32]}


@dataclass(frozen=True)
class Row:
    """One run: what the table calls it, and what it changes in the configuration."""

    name: str
    seed: int
    target: str
    model: dict[str, Any]

    def config(self, base: TrainConfig, study: str) -> TrainConfig:
        label = f"{self.name}-{self.target}-{self.seed}"
        return replace(
            base,
            output=str(RUNS / study / label),
            seed=self.seed,
            model=base.model | self.model,
            properties=replace(base.properties, targets=[self.target]),
        )


def rows(study: str, seeds: list[int], targets: list[str]) -> list[Row]:
    if study == "equitriton":
        return [
            Row("".join(map(str, ls)), seed, "U0", {"ls": ls})
            for seed in seeds
            for ls in DEGREES
        ]
    return [
        Row(name, seed, target, {"multiplicities": channels})
        for seed in seeds
        for target in targets
        for name, channels in NETWORKS.items()
    ]


def result(row: Row, base: TrainConfig, study: str) -> dict[str, Any]:
    """Train, or read what was trained, and return a row of the table."""
    config = row.config(base, study)
    folder = Path(config.output)
    if not (folder / "metrics.json").is_file():
        train(config)
    metrics = json.loads((folder / "metrics.json").read_text())["test"]
    model, card = load_checkpoint(folder / "best.safetensors")
    errors = metrics[row.target]
    return {
        "network": row.name,
        "target": row.target,
        "seed": row.seed,
        "parameters": sum(p.numel() for p in model.parameters()),
        "molecules_seen": card["steps"] * config.optimizer.batch_size,
        "minutes": round(card["hours"] * 60, 1),
        "mae": round(errors["mae"], 5),
        "rmse": round(errors["rmse"], 5),
        "mse": round(errors["rmse"] ** 2, 5),
        "unit": metrics["units"][row.target],
        "n_test": metrics["n_structures"],
    }


def write_table(path: Path, table: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def draw(path: Path, table: list[dict[str, Any]]) -> None:
    """Errors of all rows, one panel for every target."""
    from matplotlib.figure import Figure

    targets = list(dict.fromkeys(row["target"] for row in table))
    figure = Figure(figsize=(3.2 * len(targets), 3.2), layout="constrained")
    panels = figure.subplots(1, len(targets), squeeze=False)[0]
    for axes, target in zip(panels, targets):
        mine = [row for row in table if row["target"] == target]
        axes.plot([r["network"] for r in mine], [r["mae"] for r in mine], "o")
        axes.set(ylabel=f"MAE of {target}, {mine[0]['unit']}", ylim=(0, None))
        axes.tick_params(axis="x", rotation=30)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def curves(runs: list[tuple[Row, TrainConfig]]) -> list[dict[str, Any]]:
    """Collect the validation errors of finished rows, by molecules and minutes."""
    points = []
    for row, config in runs:
        with (Path(config.output) / "valid.csv").open(newline="") as file:
            points += [
                {
                    "network": row.name,
                    "target": row.target,
                    "seed": row.seed,
                    "molecules_seen": int(at["step"]) * config.optimizer.batch_size,
                    "minutes": round(float(at["elapsed"]) / 60, 2),
                    "mse": round(float(at[f"{row.target}_rmse"]) ** 2, 5),
                }
                for at in csv.DictReader(file)
            ]
    return points


def draw_curves(path: Path, points: list[dict[str, Any]]) -> None:
    """Validation errors against molecules seen and against time, a line for a run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    networks = list(dict.fromkeys(point["network"] for point in points))
    lines = dict.fromkeys((p["network"], p["target"], p["seed"]) for p in points)
    for line in lines:
        mine = [p for p in points if (p["network"], p["target"], p["seed"]) == line]
        for axes, x in zip(panels, ("molecules_seen", "minutes")):
            axes.loglog(
                [p[x] for p in mine],
                [p["mse"] for p in mine],
                color=f"C{networks.index(line[0])}",
                label=line[0],
            )
            axes.set_xlabel(x.replace("_", " "))
            axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean squared error, validation")
    named = dict(zip(*reversed(panels[0].get_legend_handles_labels())))
    panels[0].legend(named.values(), named.keys(), frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description="Short versions of two studies.")
    parser.add_argument("study", choices=("equitriton", "thesis"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[21616])
    parser.add_argument("--targets", nargs="+", default=["mu"], help="of thesis")
    parser.add_argument("--networks", nargs="+", help="some of the rows, by name")
    parser.add_argument("--steps", type=int, help="of each row")
    parser.add_argument("--minutes", type=float, help="at most, of each row")
    parser.add_argument("--results", type=Path, default=RUNS / "results")
    given = parser.parse_args()
    base = load_config(ROOT / "configs" / "study" / f"{given.study}.yaml")
    if given.steps is not None:
        base = replace(base, stop=replace(base.stop, max_steps=given.steps))
    if given.minutes is not None:
        base = replace(base, stop=replace(base.stop, max_time=60 * given.minutes))
    chosen = [
        row
        for row in rows(given.study, given.seeds, given.targets)
        if given.networks is None or row.name in given.networks
    ]
    results = given.results
    table = []
    for row in chosen:
        table.append(result(row, base, given.study))
        print(table[-1], flush=True)
        write_table(results / f"{given.study}.csv", table)
    draw(results / f"{given.study}.png", table)
    points = curves([(row, row.config(base, given.study)) for row in chosen])
    write_table(results / f"{given.study}_curves.csv", points)
    draw_curves(results / f"{given.study}_curves.png", points)


if __name__ == "__main__":
    main()
