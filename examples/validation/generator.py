"""How good is the generator? Beside QM9 itself and beside the papers.

    python examples/validation/generator.py reference QM9/train
    python examples/validation/generator.py qm9 QM9/test
    python examples/validation/generator.py generated -n 10000 --data QM9
    python examples/validation/generator.py frontier -n 1000
    python examples/validation/generator.py rules -n 1000
    python examples/validation/generator.py curve runs/symphony-own own

QM9 is the folder of the EDM split (equicalc.data.qm9_split). `reference` makes the
statistics that the package ships; `qm9` applies the measures to QM9 itself; `generated`
makes molecules with the shipped weights, measures everything and writes a report;
`frontier` does so for several temperatures; `rules` with valence mask and clash rule;
`curve` adds the validations of a training run, losses and validity, to those of the
runs before it.
Results go to `examples/validation/results`.
"""

from __future__ import annotations

import csv
import time
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from tables import RESULTS, write_json, write_table

from equicalc.data.packed import PackedDataset
from equicalc.generators import Rules, Temperature, load_builder, metrics
from equicalc.generators.metrics import statistics as statistics_module
from equicalc.generators.metrics.report import Evaluated, write_report

app = typer.Typer(help=__doc__, add_completion=False)
Model = Annotated[str, typer.Option("--model", "-m")]
Number = Annotated[int, typer.Option("-n")]
#: Columns of a run's `valid.csv`, nats per fragment.
LOSSES = ("loss", "focus", "radial", "angular")
#: Others, in percent of the molecules that a validation grows; early runs lack them.
SHARES = ("validity", "molecule_stability")


@app.command()
def reference(data: Path, n: Number = 20_000) -> None:
    """Statistics of QM9's training part: the file that the package ships."""
    found = metrics.statistics_of_dataset(PackedDataset(data), n)
    found.save(statistics_module.SHIPPED)
    print(f"{statistics_module.SHIPPED}: {found.n_molecules} molecules")


@app.command()
def qm9(data: Path, n: Number = 1000, posebusters: int = 100) -> None:
    """All measures of QM9 itself: what is the best that can be reached."""
    molecules = list(metrics.structures_of_dataset(PackedDataset(data), n))
    table = metrics.evaluate_molecules(
        molecules,
        openbabel=True,
        n_posebusters=posebusters,
        reference=metrics.qm9_statistics(),
    )
    write_json(
        "generator_qm9", {"data": f"{n} random molecules of QM9's test part"} | table
    )


@app.command()
def generated(
    n: Number = 10_000,
    data: Path | None = None,
    model: Model = "symphony",
    posebusters: int = 1000,
    fragments: int = 1000,
    novelty: bool = True,
    seed: int = 0,
    batch_size: int = 256,
) -> None:
    """Everything about molecules of the shipped weights, without selection.

    With `data` also the novelty (minutes for the SMILES of 100,000 molecules), and
    completions of molecules of the training and of the test part that lost a hydrogen.
    """
    builder = load_builder(model)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    rules = Rules().settled(builder.model.config)
    molecules = builder.generate(n, seed, batch_size=batch_size, rules=rules)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    parts = (
        {} if data is None else {k: PackedDataset(data / k) for k in ("train", "test")}
    )
    known = metrics.smiles_of_dataset(parts["train"]) if parts and novelty else set()
    table = metrics.evaluate_molecules(
        molecules,
        known,
        openbabel=metrics.has_openbabel(),
        n_posebusters=posebusters,
        reference=metrics.qm9_statistics(),
    )
    table |= {
        "seed": seed,
        "seconds_per_molecule": seconds / n,
        "cpu_seconds_per_molecule": cpu / n,
        "rules": rules.provenance(),
    } | Temperature().provenance()
    for name, part in parts.items():
        whole = metrics.structures_of_dataset(part, fragments)
        rate = metrics.valid_completion_rate(builder, whole)
        table |= {f"completion_{name}": rate, "n_completions": fragments}
    write_json("generator", table)
    folder = RESULTS / "generator"
    folder.mkdir(exist_ok=True)
    sets = [Evaluated("equicalc", molecules, table)]
    print(write_report(folder, sets, metrics.qm9_statistics()))


@app.command()
def frontier(n: Number = 1000, model: Model = "symphony", seed: int = 0) -> None:
    """Validity against uniqueness over the temperatures."""
    from equicalc.generators.ablation import over_temperatures

    pairs = list(product((0.6, 0.8, 1.0, 1.1), (0.02, 0.05, 0.2, 1.0)))
    write_table(
        "generator_frontier", over_temperatures(load_builder(model), pairs, n, seed)
    )


@app.command()
def rules(n: Number = 1000, model: Model = "symphony", seed: int = 0) -> None:
    """The same molecules with and without valence mask and clash rule."""
    from equicalc.generators.ablation import measured

    builder = load_builder(model)
    kinds = {
        "none": Rules(valence=False),
        "valence": Rules(),
        "clash 1.25": Rules(valence=False, clash=1.25),
        "valence, clash 1.25": Rules(clash=1.25),
    }
    write_table(
        "generator_rules",
        [
            {"rules": name} | measured(builder, n, seed, rules=kind)
            for name, kind in kinds.items()
        ],
    )


@app.command()
def curve(run: Path, name: str, fragments_per_step: int = 166) -> None:
    """Add a run to the learning curve, and draw it."""
    with (RESULTS / "generator_learning_curve.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["run"] != name]
    steps, fragments = (int(rows[-1][key]) for key in ("steps", "fragments_seen"))
    with (run / "valid.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            seen = fragments + int(row["step"]) * fragments_per_step
            losses = {key: round(float(row[key]), 4) for key in LOSSES}
            count = {"steps": steps + int(row["step"]), "fragments_seen": seen}
            shares = {key: row.get(key, "") for key in SHARES}
            rows.append({"run": name, **count, **losses, **shares})
    rows = [row | {key: row.get(key, "") for key in SHARES} for row in rows]
    write_table("generator_learning_curve", rows)
    draw_curve(RESULTS / "generator_learning_curve.png", rows)


def draw_curve(path: Path, rows: list[dict]) -> None:
    """Losses against fragments seen, a line for every run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["run"] for row in rows):
        mine = [row for row in rows if row["run"] == name]
        seen = [int(row["fragments_seen"]) / 1e6 for row in mine]
        losses = [float(row["loss"]) for row in mine]
        axes.plot(seen, losses, "o-", ms=4, label=name)
    axes.set(
        xlabel="fragments seen / 10⁶", ylabel="validation loss / nats per fragment"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    app()
