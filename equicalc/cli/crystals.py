"""``equicalc crystals``: build, label, score and benchmark molecular crystals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from equicalc.cli import crystal_scores, inputs
from equicalc.cli.errors import USER_ERROR, print_error

if TYPE_CHECKING:
    from equicalc.crystals import LabelledCrystal, MolecularCrystal
    from equicalc.crystals.x23 import BenchmarkRow, ReferenceCrystal

crystals = typer.Typer(
    name="crystals",
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="Build molecular crystals and calculate or predict their lattice energies.",
)
for command in (crystal_scores.score, crystal_scores.relax, crystal_scores.embed):
    crystals.command(no_args_is_help=True)(command)

SHOWN = 20
KJ = "kJ/mol"

MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        "-m",
        help="mace (the shipped one), mace:NAME (a foundation model), mace:FILE, each "
        "also with +d3 and +float64; gfn2-2b (pairs of molecules), exp6, lj; or a "
        "calculator for crystals: gfn2, equicalc[:model], package.module:Class.",
    ),
]


@crystals.command()
def build(
    molecule: Annotated[
        str,
        typer.Argument(help="SMILES or a file with one molecule.", metavar="MOLECULE"),
    ],
    spacegroup: Annotated[
        int, typer.Option("--spacegroup", "-g", help="Space group, 1 to 230.")
    ] = 14,
    number: Annotated[int, typer.Option("-n", help="How many crystals.")] = 20,
    potential: Annotated[
        str, typer.Option(help="What packs them: lj, exp6 or paper_soft.")
    ] = "lj",
    packing: Annotated[
        float, typer.Option(help="Share of the volume that is filled at the start.")
    ] = 0.6,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File, extended XYZ or any of ASE.")
    ] = Path("crystals.extxyz"),
    overwrite: inputs.Overwrite = False,
    seed: inputs.Seed = 0,
) -> None:
    """Make random crystals of a molecule: sampled, packed, without duplicates.

    One molecule in the asymmetric unit; it stays rigid. Writes all crystals, those of
    lowest energy first, with energy, packing coefficient and closest contact; what
    has been found is in the file now and then, and when the command is stopped.

    [bold]Examples[/bold]

      [cyan]equicalc crystals build "CC(=O)N" --spacegroup 14 -n 50 -o x.extxyz[/cyan]

      [cyan]equicalc crystals build molecule.xyz -g 19 -n 10[/cyan]
    """
    from equicalc.cli.console import print_table, progress_bar, stdout
    from equicalc.cli.results import kept, write_structures
    from equicalc.crystals import random_crystals
    from equicalc.crystals.potentials import named_potential

    inputs.refuse_existing([output], resume=None, overwrite=overwrite)
    inputs.output_folder(output.parent)
    inputs.require_writable_format(output)
    (named,) = _one(inputs.read_structures([molecule], seed))
    made: list[MolecularCrystal] = []

    def write() -> None:
        if made:
            write_structures(output, [crystal.to_atoms() for crystal in made])

    with progress_bar() as bar, kept(write) as save:
        task = bar.add_task("packing", total=number, note="")

        def keep(found: list[MolecularCrystal]) -> None:
            made[:] = found
            save()
            bar.update(task, completed=len(found))

        random_crystals(
            named.atoms,
            spacegroup,
            number,
            seed,
            potential=named_potential(potential),
            packing=packing,
            progress=keep,
        )
    if not made:
        raise ValueError(
            f"no crystal of {named.name} in space group {spacegroup} came out packed; "
            "try another group or a lower --packing"
        )
    print_table(f"{named.name} in space group {spacegroup}", _built(made[:SHOWN]))
    stdout.print(f"{len(made)} crystals: {output}")


@crystals.command(no_args_is_help=True)
def label(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Crystals in any ASE format; one frame only: FILE@0.",
            metavar="FILE...",
        ),
    ],
    method: MethodName = "gfn2-2b",
    relax: Annotated[
        str,
        typer.Option(help="none, molecule (the strain) or both (crystal as well)."),
    ] = "molecule",
    workers: Annotated[
        int, typer.Option(help="Processes; 0: one for each core.", min=0)
    ] = 0,
    scheduler: inputs.Scheduler = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="ASE database.", metavar="FILE.db")
    ] = Path("labels.db"),
) -> None:
    """Calculate lattice energies of crystals, in parallel.

    Each crystal is written when it is done; the same command goes on after any stop. A
    crystal that cannot be treated gets the reason in its row, and the exit code is 2.

    [bold]Examples[/bold]

      [cyan]equicalc crystals label *.cif -o labels.db[/cyan]

      [cyan]equicalc crystals label crystals.extxyz --method exp6[/cyan]
    """
    from equicalc.cli.console import print_table, progress_bar, stdout
    from equicalc.crystals import label_crystals

    if relax not in ("none", "molecule", "both"):
        raise ValueError(f"--relax is {relax!r}; give none, molecule or both")
    with progress_bar() as bar:
        task = bar.add_task("labelling", total=None, note="")

        def report(done: int, total: int, last: LabelledCrystal | None) -> None:
            note = "" if last is None else f"{last.name}: {last.status}"
            bar.update(task, total=total, completed=done, note=note)

        rows = label_crystals(
            files,
            output,
            method,
            None if relax == "none" else relax,
            workers,
            report,
            scheduler,
        )
    good = [row for row in rows if row.values]
    if good:
        print_table(f"Lattice energies, {method}", [_labelled(row) for row in good])
    for row in rows:
        if not row.values:
            print_error(f"{row.name}: {row.message} ({row.status})")
    stdout.print(f"{len(good)} of {len(rows)} crystals labelled: {output}")
    if len(good) < len(rows):
        raise typer.Exit(USER_ERROR)


@crystals.command(no_args_is_help=True)
def benchmark(
    name: Annotated[str, typer.Argument(help="x23.", metavar="NAME")],
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder with x23_structures.extxyz and x23_reference.json.",
            metavar="FOLDER",
        ),
    ],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="As for label; repeated: several.",
            show_default="gfn2-2b",
        ),
    ] = None,
    output: inputs.Output = Path("benchmark"),
) -> None:
    """Compare methods with reference lattice energies.

    x23: 23 crystals, against diffusion Monte Carlo. Writes a table and a plot.

    [bold]Examples[/bold]

      [cyan]equicalc crystals benchmark x23 data/x23 -m gfn2-2b -m exp6[/cyan]
    """
    from equicalc.cli.console import print_table, progress_bar, stdout
    from equicalc.cli.results import write_csv
    from equicalc.crystals import named_method
    from equicalc.crystals.x23 import evaluate_x23, plot_x23, read_x23

    if name != "x23":
        raise ValueError(f"benchmark {name!r} is unknown; there is x23")
    references = read_x23(folder)
    chosen = [named_method(text, "molecule") for text in methods or ["gfn2-2b"]]
    out = inputs.output_folder(output)
    results: dict[str, list[BenchmarkRow]] = {}
    with progress_bar() as bar:
        for method in chosen:
            task = bar.add_task(method.name, total=len(references), note="")
            results[method.name] = evaluate_x23(
                references,
                method,
                lambda done, crystal, task=task: bar.update(
                    task, completed=done, note=crystal
                ),
            )
    table = _compared(references, results)
    print_table(f"Lattice energies, {KJ}", table)
    write_csv(out / "x23.csv", table)
    print_table("Mean absolute errors against DMC", _summary(references, results))
    plot = plot_x23(results, references, out / "x23.png")
    stdout.print(f"table: {out / 'x23.csv'}   plot: {plot}")


def _one(structures: list[inputs.Named]) -> list[inputs.Named]:
    if len(structures) != 1:
        raise ValueError(f"{len(structures)} molecules given; give one")
    return structures


def _built(made: list[MolecularCrystal]) -> list[dict[str, object]]:
    from equicalc.units import KJ_PER_MOL

    return [
        {
            "rank": rank,
            "energy_kJ/mol": crystal.info["pair_energy"] / KJ_PER_MOL,
            "density_g/cm3": crystal.density,
            "packing": crystal.info["packing"],
            "contact_vdW": crystal.info["contact"],
        }
        for rank, crystal in enumerate(made, 1)
    ]


def _labelled(row: LabelledCrystal) -> dict[str, object]:
    values = row.values
    return {
        "crystal": row.name,
        "energy_kJ/mol": values["lattice_energy"],
        "interaction_kJ/mol": values["interaction"],
        "strain_kJ/mol": values["strain"],
        "group": values.get("spacegroup", ""),
        "Z": values.get("z", ""),
        "Z'": values.get("z_prime", ""),
        "packing": values.get("packing", ""),
        "contact": values.get("contact", ""),
        "message": row.message,
    }


def _compared(
    references: list[ReferenceCrystal], results: dict[str, list[BenchmarkRow]]
) -> list[dict[str, object]]:
    """One row for each crystal, one column for each method."""
    rows = []
    for index, one in enumerate(references):
        row: dict[str, object] = {"crystal": one.name, "DMC": one.dmc}
        row |= {"experiment": one.experiment}
        row |= {name: column[index].energy for name, column in results.items()}
        reasons = [column[index].message for column in results.values()]
        rows.append(row | {"message": "; ".join(filter(None, reasons))})
    return rows


def _summary(
    references: list[ReferenceCrystal], results: dict[str, list[BenchmarkRow]]
) -> list[dict[str, object]]:
    """Mean absolute errors: each method, the experiment, methods elsewhere."""
    from equicalc.crystals.x23 import OTHERS, mean_absolute_error

    spread = [abs(one.experiment - one.dmc) for one in references]
    experiment = {
        "method": "experiment",
        f"MAE_{KJ}": sum(spread) / len(spread),
        "crystals": len(spread),
    }
    computed = [
        {
            "method": name,
            f"MAE_{KJ}": mean_absolute_error(rows),
            "crystals": sum(not row.message for row in rows),
        }
        for name, rows in results.items()
    ]
    others = [
        {"method": f"{name} (elsewhere)", f"MAE_{KJ}": error, "crystals": 23}
        for name, error in OTHERS.items()
    ]
    return [*computed, experiment, *others]
