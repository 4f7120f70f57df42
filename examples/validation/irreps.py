"""Which irreps does a potential use, and what is it worth without one?

    python examples/validation/irreps.py use runs/labels-gfn2-all
    python examples/validation/irreps.py pruning runs/labels-gfn2-all --time 00:10:00
    python examples/validation/irreps.py pruning qm9/test --model qm9-u0 --drop 1

All look at molecules that training never saw: the split of the potential's training
configuration, or a part that was not trained on. `use` is `equicalc analyze irreps` and
`equicalc analyze map`; `pruning` is `equicalc prune`. Results go to
`examples/validation/results`.
"""

from __future__ import annotations

from pathlib import Path

import typer
from tables import RESULTS, write_table

CONFIG = Path("configs/potential-gfn2.yaml")
app = typer.Typer(help=__doc__, add_completion=False)


@app.command()
def use(data: Path, model: str = "potential-gfn2", limit: int = 400) -> None:
    """Measure every irrep, and draw the map of the molecules."""
    from equicalc.analysis.irreps import analyze_irreps
    from equicalc.analysis.maps import embedding_maps, plot_maps
    from equicalc.analysis.sample import chosen, unpacked
    from equicalc.cli.analyze import identities, property_of
    from equicalc.data import PackedDataset
    from equicalc.embedding import Embedder
    from equicalc.training import load_config

    settings = load_config(CONFIG)
    parts = PackedDataset(data).split(settings.data.fractions, settings.seed)
    test = parts["test"]
    structures = list(unpacked(test.subset(chosen(len(test), limit))))
    scores, names = property_of(structures, "nsps"), identities(structures)
    embedder = Embedder.from_pretrained(model, device="cpu", batch_size=32)
    found = analyze_irreps(embedder, structures, scores, names)
    title = f"{model}, {len(structures)} structures of unseen molecules"
    found.write_csv(RESULTS / "irreps.csv")
    found.plot(RESULTS / "irreps.png", title)
    for row in found.rows():
        print(row)
    print("whole:", found.error)
    maps = embedding_maps(embedder, structures, "phate")
    plot_maps(maps, scores, RESULTS / "irreps_map.png", "NSPS", structures, title)


@app.command()
def pruning(
    data: Path,
    model: str = "potential-gfn2",
    drop: int = 2,
    time: str = "00:10:00",
    output: Path = Path("runs/pruned"),
) -> None:
    """Drop a degree, train what is left for a while, compare."""
    from equicalc.header import read_header
    from equicalc.pretrained import weights_path
    from equicalc.training import load_config
    from equicalc.training.config import TrainerConfig
    from equicalc.training.pruning import PruneSettings, prune

    split = load_config(CONFIG)
    settings = PruneSettings(
        max_time=time,
        fractions=split.data.fractions,
        seed=split.seed,
        trainer=TrainerConfig(threads=1),
    )
    result = prune(weights_path(model), data, {drop}, output, settings)
    steps = read_header(result.checkpoint)["card"]["steps"]
    trained = {"fine-tuned": f"{steps} steps in {time}"}
    write_table(
        f"pruning_{model}",
        [
            {**row, "fine-tuning": trained.get(row["network"], "")}
            for row in result.rows
        ],
    )


if __name__ == "__main__":
    app()
