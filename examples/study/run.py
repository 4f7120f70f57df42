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
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from equicalc.checkpoint import load_checkpoint
from equicalc.training import TrainConfig, load_config, train
from equicalc.training.config import StopConfig

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
    targets: tuple[str, ...]
    model: dict[str, Any]

    def config(self, base: TrainConfig, study: str) -> TrainConfig:
        label = f"{self.name}-{'-'.join(self.targets)}-{self.seed}"
        return replace(
            base,
            output=str(RUNS / study / label),
            seed=self.seed,
            model=base.model | self.model,
            properties=replace(base.properties, targets=list(self.targets)),
        )


def rows(study: str, seeds: list[int], targets: list[tuple[str, ...]]) -> list[Row]:
    if study == "equitriton":
        return [
            Row("".join(map(str, ls)), seed, ("U0",), {"ls": ls})
            for seed in seeds
            for ls in DEGREES
        ]
    return [
        Row(name, seed, together, {"multiplicities": channels})
        for seed in seeds
        for together in targets
        for name, channels in NETWORKS.items()
    ]


def results(row: Row, base: TrainConfig, study: str) -> list[dict[str, Any]]:
    """Train, or read what was trained, and return a line of the table per target."""
    config = row.config(base, study)
    folder = Path(config.output)
    if not (folder / "metrics.json").is_file():
        train(config)
    metrics = json.loads((folder / "metrics.json").read_text())["test"]
    model, card = load_checkpoint(folder / "best.safetensors")
    shared = {
        "seed": row.seed,
        "parameters": sum(p.numel() for p in model.parameters()),
        "molecules_seen": card["steps"] * config.optimizer.batch_size,
        "minutes": round(card["hours"] * 60, 1),
        "n_test": metrics["n_structures"],
    }
    return [
        {
            "network": row.name,
            "target": target,
            **shared,
            "mae": round(metrics[target]["mae"], 5),
            "rmse": round(metrics[target]["rmse"], 5),
            "mse": round(metrics[target]["rmse"] ** 2, 5),
            "unit": metrics["units"][target],
        }
        for target in row.targets
    ]


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
    n_columns = min(len(targets), 6)
    n_rows = math.ceil(len(targets) / n_columns)
    size = (2.6 * n_columns, 2.8 * n_rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, target in zip(panels, targets):
        mine = [row for row in table if row["target"] == target]
        axes.plot(
            [r["network"] for r in mine], [r["mae"] for r in mine], "o", clip_on=False
        )
        axes.set(ylabel=f"MAE of {target}, {mine[0]['unit']}", ylim=(0, None))
        axes.tick_params(axis="x", rotation=30)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(targets) :]:
        axes.remove()
    figure.savefig(path, dpi=150)


def curves(runs: list[tuple[Row, TrainConfig]]) -> list[dict[str, Any]]:
    """Collect the validation errors of finished rows, by molecules and minutes."""
    points = []
    for row, config in runs:
        with (Path(config.output) / "valid.csv").open(newline="") as file:
            points += [
                {
                    "network": row.name,
                    "target": target,
                    "seed": row.seed,
                    "molecules_seen": int(at["step"]) * config.optimizer.batch_size,
                    "minutes": round(float(at["elapsed"]) / 60, 2),
                    "mse": round(float(at[f"{target}_rmse"]) ** 2, 5),
                }
                for at in csv.DictReader(file)
                for target in row.targets
            ]
    return points


def draw_curves(path: Path, points: list[dict[str, Any]]) -> None:
    """Validation errors against molecules seen and against time, a line for a run."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

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
            axes.xaxis.set_minor_formatter(NullFormatter())
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
    parser.add_argument(
        "--joint", action="store_true", help="one network for all targets of thesis"
    )
    parser.add_argument("--config", type=Path, help="other settings")
    parser.add_argument("--name", help="of runs and results, for other data")
    parser.add_argument("--networks", nargs="+", help="some of the rows, by name")
    parser.add_argument("--steps", type=int, help="of each row")
    parser.add_argument("--minutes", type=float, help="at most, of each row")
    parser.add_argument("--val-every", type=int, help="steps, for larger data")
    parser.add_argument("--results", type=Path, default=RUNS / "results")
    given = parser.parse_args()
    file = given.config or ROOT / "configs" / "study" / f"{given.study}.yaml"
    base = load_config(file)
    if given.steps is not None or given.minutes is not None:
        seconds = None if given.minutes is None else 60 * given.minutes
        base = replace(base, stop=StopConfig(max_steps=given.steps, max_time=seconds))
    if given.val_every is not None:
        trainer = replace(base.trainer, val_every_steps=given.val_every)
        base = replace(base, trainer=trainer)
    alone = [(target,) for target in given.targets]
    targets = [tuple(given.targets)] if given.joint else alone
    chosen = [
        row
        for row in rows(given.study, given.seeds, targets)
        if given.networks is None or row.name in given.networks
    ]
    name = given.name or (f"{given.study}_joint" if given.joint else given.study)
    file = given.results / name
    table = []
    for row in chosen:
        table += results(row, base, name)
        print(*table[-len(row.targets) :], sep="\n", flush=True)
        write_table(file.with_suffix(".csv"), table)
    draw(file.with_suffix(".png"), table)
    points = curves([(row, row.config(base, name)) for row in chosen])
    write_table(file.with_name(f"{file.name}_curves.csv"), points)
    draw_curves(file.with_name(f"{file.name}_curves.png"), points)


if __name__ == "__main__":
    main()
