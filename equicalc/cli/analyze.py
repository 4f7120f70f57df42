"""``equicalc analyze``: what a network has learned, and which irreps it uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from equicalc.cli import inputs
from equicalc.cli.errors import USER_ERROR

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from equicalc.embedding import Embedder

analyze = typer.Typer(
    name="analyze",
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="See what a network has learned, and which irreps it uses.",
)

NSPS = "nsps"

ModelName = Annotated[
    str,
    typer.Argument(
        help="A shipped network or the file of a checkpoint.", metavar="MODEL"
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        help="A packed data set, a file of structures, or a file of SMILES.",
        metavar="DATA",
    ),
]
Limit = Annotated[
    int, typer.Option(help="Look at so many structures, drawn at random.", min=1)
]
Property = Annotated[
    str,
    typer.Option(
        "--property",
        help="nsps (spacial score, a measure of complexity), energy, or a number in "
        "the file's info.",
    ),
]
BatchSize = Annotated[int, typer.Option(help="Structures at a time.")]


@analyze.command(no_args_is_help=True)
def irreps(
    model: ModelName,
    dataset: Data,
    name: Property = NSPS,
    limit: Limit = 500,
    output: inputs.Output = Path("irreps"),
    overwrite: inputs.Overwrite = False,
    batch_size: BatchSize = 32,
    seed: inputs.Seed = 0,
    device: inputs.Device = "auto",
) -> None:
    """Measure the use of every irrep, and say which ones to drop.

    Size and effective number of channels; how well the nearest molecules tell a
    property (knn_r2); gradient times activation, and what becomes of a prediction
    without the irrep, as change and, where the structures are labelled, as error
    (energies in meV/atom, forces in meV/Å, every other property in its own unit).
    Writes [cyan]irreps.csv[/cyan] and [cyan]irreps.png[/cyan].

    [bold]Examples[/bold]

      [cyan]equicalc analyze irreps potential-gfn2 labels/packed[/cyan]

      [cyan]equicalc analyze irreps symphony molecules.extxyz -o use[/cyan]
    """
    from equicalc.analysis.irreps import analyze_irreps, unit_of
    from equicalc.cli.console import print_table, stdout
    from equicalc.embedding import Embedder

    table, figure = output / "irreps.csv", output / "irreps.png"
    inputs.refuse_existing([table, figure], resume=None, overwrite=overwrite)
    inputs.output_folder(output)
    sample = read_sample(dataset, limit, seed)
    embedder = Embedder.from_pretrained(model, device=device, batch_size=batch_size)
    structures = embeddable(sample, embedder)
    found = analyze_irreps(
        embedder, structures, property_of(structures, name), identities(structures)
    )
    for title, rows in found.tables().items():
        print_table(title, rows)
    found.write_csv(table)
    found.plot(figure, f"{model}, {len(structures)} structures")
    for answer, error in found.error.items():
        unit = unit_of(answer)
        stdout.print(f"{answer} error with all irreps: {error:.4g} {unit}".rstrip())
    stdout.print(f"table: {table}   figure: {figure}")
    if len(structures) < len(sample):
        raise typer.Exit(USER_ERROR)


@analyze.command("map", no_args_is_help=True)
def draw_map(
    model: ModelName,
    dataset: Data,
    method: Annotated[str, typer.Option(help="phate, umap or pca.")] = "phate",
    name: Property = NSPS,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Features as they are, not their invariants."),
    ] = False,
    limit: Limit = 2000,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Picture.", metavar="FILE")
    ] = Path("map.png"),
    overwrite: inputs.Overwrite = False,
    batch_size: BatchSize = 32,
    seed: inputs.Seed = 0,
    device: inputs.Device = "auto",
) -> None:
    """Draw maps of molecules: all irreps together, and each by itself.

    Molecules that a network finds alike lie close together; colours show a property,
    and those at the extremes are drawn.

    [bold]Examples[/bold]

      [cyan]equicalc analyze map symphony molecules.extxyz[/cyan]

      [cyan]equicalc analyze map potential-gfn2 labels/packed --method pca[/cyan]
    """
    from equicalc.analysis.maps import embedding_maps, plot_maps
    from equicalc.cli.console import stdout
    from equicalc.embedding import Embedder

    picture = output if output.suffix else output.with_suffix(".png")
    inputs.refuse_existing([picture], resume=None, overwrite=overwrite)
    inputs.output_folder(output.parent)
    sample = read_sample(dataset, limit, seed)
    embedder = Embedder.from_pretrained(model, device=device, batch_size=batch_size)
    structures = embeddable(sample, embedder)
    maps = embedding_maps(embedder, structures, method, raw, seed)
    plot_maps(
        maps,
        property_of(structures, name),
        picture,
        name.upper() if name == NSPS else name,
        structures,
        f"{model}, {method.upper()} of {len(structures)} structures",
    )
    stdout.print(f"{len(structures)} structures: {picture}")
    if len(structures) < len(sample):
        raise typer.Exit(USER_ERROR)


def read_sample(given: str, limit: int, seed: int) -> list[inputs.Named]:
    """Read some structures of a packed data set or of anything that holds some.

    Raises
    ------
    ValueError
        If it holds none.
    """
    from equicalc.analysis.sample import chosen, unpacked

    if (Path(given) / "meta.json").is_file():
        from equicalc.data import PackedDataset

        dataset = PackedDataset(given)
        rows = chosen(len(dataset), limit, seed)
        return [
            inputs.Named(f"{given}, structure {k}", lambda atoms=atoms: atoms)
            for k, atoms in zip(rows, unpacked(dataset.subset(rows)))
        ]
    found = inputs.read_structures([given], seed)
    return [found[k] for k in chosen(len(found), limit, seed)]


def embeddable(sample: list[inputs.Named], embedder: Embedder) -> list[Atoms]:
    """Return the structures that a network can embed; the others are reported.

    Raises
    ------
    ValueError
        If it can embed none of them.
    """
    from equicalc.cli.batch import usable
    from equicalc.cli.console import stderr

    good = usable(sample, lambda atoms: embedder.embed(atoms, level="molecule"))
    if not good:
        raise ValueError("no structure is left: give others, or another network")
    if len(good) < len(sample):
        stderr.print(f"{len(sample) - len(good)} of {len(sample)} structures left out")
    return [named.atoms for named in good]


def property_of(structures: list[Atoms], name: str) -> np.ndarray:
    """Return a number of every structure, NaN where there is none.

    Raises
    ------
    ValueError
        If no structure has it.
    """
    import numpy as np

    from equicalc.analysis.complexity import nsps_of_all

    if name == NSPS:
        return nsps_of_all(structures)
    numbers = [_number(atoms, name) for atoms in structures]
    if np.isnan(numbers).all():
        raise ValueError(
            f"no structure has a number {name!r} in its info or results; "
            f"the first has {sorted(structures[0].info)}"
        )
    return np.array(numbers)


def identities(structures: list[Atoms]) -> list[str]:
    """Return what tells molecules apart: SMILES, else formula."""
    from equicalc.analysis.complexity import smiles_of

    names = []
    for atoms in structures:
        try:
            names.append(smiles_of(atoms))
        except ValueError:
            names.append(atoms.get_chemical_formula())
    return names


def _number(atoms: Atoms, name: str) -> float:
    from equicalc.data.qm9 import as_fields

    value = atoms.info.get(name)
    if value is None and atoms.calc is not None:
        (field,) = as_fields({name: 0.0})  # U0 is kept as the energy
        value = getattr(atoms.calc, "results", {}).get(field)
    try:
        return float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return float("nan")
