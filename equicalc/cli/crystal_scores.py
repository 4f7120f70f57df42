"""``equicalc crystals score | relax | embed``: what the trained predictor does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from equicalc.cli import crystal_frames, inputs
from equicalc.cli.errors import USER_ERROR, print_error

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator
    from numpy.typing import NDArray

    from equicalc.crystals import LatticeEnergyPredictor, MolecularCrystal
    from equicalc.crystals.labels import Frame
    from equicalc.crystals.predictor import Row
    from equicalc.crystals.strain import Strain

Files = Annotated[
    list[str],
    typer.Argument(
        help="Crystals in any ASE format; one frame only: FILE@0.", metavar="FILE..."
    ),
]
Predictor = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A shipped predictor (lattice, or lattice-mace, whose labels are those of "
        "a MACE) or the file of a checkpoint.",
        show_default="lattice",
    ),
]
Table = Annotated[
    Path, typer.Option("--output", "-o", help="Table, CSV.", metavar="FILE.csv")
]
TOGETHER, STRAINED_TOGETHER = 512, 16  # crystals that are evaluated at a time
SHOWN = (
    *("file", "formula", "spacegroup", "density_g/cm3"),
    *("energy_kJ/mol", "std_kJ/mol", "rank", "dE_kJ/mol"),
    *("strain_kJ/mol", "message"),
)
CHANGES = (
    *("file", "steps", "converged", "fmax_eV/A"),
    *("change_kJ/mol", "volume_change_%"),
)


def score(
    files: Files,
    rank: Annotated[
        bool, typer.Option("--rank", help="Sort by formula and energy.")
    ] = False,
    strain: Annotated[
        bool,
        typer.Option(
            "--strain",
            help="Add the strain of the molecules (shipped potential).",
        ),
    ] = False,
    model: Predictor = None,
    output: Table = Path("scores.csv"),
    resume: inputs.Resume = False,
    overwrite: inputs.Overwrite = False,
) -> None:
    """Predict lattice energies of crystals, in milliseconds each.

    Energies are in kJ/mol per molecule, negative is bound. Without --strain they are
    those of rigid molecules: compare packings of one conformer only. A crystal that
    cannot be treated gets the reason in its row and no energy; the exit code is then 2.
    The table is written now and then; [cyan]--resume[/cyan] passes over the crystals
    that have their energy there, by the same model.

    [bold]Examples[/bold]

      [cyan]equicalc crystals score *.cif -o scores.csv --rank[/cyan]

      [cyan]equicalc crystals score polymorphs.extxyz --strain --rank[/cyan]
    """
    from equicalc.cli.console import stdout
    from equicalc.cli.results import read_csv, write_csv
    from equicalc.crystals.predictor import rank_rows
    from equicalc.crystals.strain import Strain

    inputs.require_suffix(output, ".csv")
    inputs.refuse_inputs(files, [output])
    inputs.refuse_existing([output], resume, overwrite)
    inputs.output_folder(output.parent)
    frames = crystal_frames.read(files)
    earlier = read_csv(output) if resume and output.exists() else []
    by_name = {str(row.get("file")): row for row in earlier}
    bent = Strain() if strain else None
    _score_all(by_name, frames, _predictor(model), bent, output)
    rows = list(by_name.values())
    rank_rows(rows)
    if rank:
        rows.sort(key=_place)
    write_csv(output, rows)
    asked = {frame[0] for frame in frames}
    rows = [row for row in rows if row.get("file") in asked]
    _print_rows("Lattice energies", rows, SHOWN)
    good = sum(row["status"] == "ok" for row in rows)
    stdout.print(f"{good} of {len(rows)} crystals scored: {output}")
    if good < len(rows):
        raise typer.Exit(USER_ERROR)


def relax(
    files: Files,
    fmax: Annotated[float, typer.Option(help="Largest force, eV/Angstrom.")] = 0.05,
    steps: Annotated[int, typer.Option(help="At most so many.")] = 200,
    fixed_cell: Annotated[
        bool, typer.Option("--fixed-cell", help="Move the atoms only.")
    ] = False,
    model: Predictor = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Extended XYZ.", metavar="FILE")
    ] = Path("relaxed.extxyz"),
    resume: inputs.Resume = False,
    overwrite: inputs.Overwrite = False,
) -> None:
    """Relax crystals, atoms and cell, with the predictor.

    The interaction is the predictor's, the molecules themselves are those of the
    shipped potential. Each crystal is written when it is done, to the structures and
    to a table of the same name; [cyan]--resume[/cyan] passes over those that are
    there and converged, or did not in as many steps; model, fmax and cell must be those
    of the earlier call. The table's message says in what a relaxed crystal is unlike
    those that the predictor learned from, or whether its volume has changed much: look
    at these before using them. Crystals that cannot be treated are reported and left
    out; the exit code is then 2.

    [bold]Examples[/bold]

      [cyan]equicalc crystals relax urea.cif -o relaxed.extxyz[/cyan]

      [cyan]equicalc crystals relax *.cif --resume[/cyan]
    """
    from equicalc.cli.console import progress_bar, stdout
    from equicalc.cli.results import Results
    from equicalc.simulation.checks import require_counts, require_numbers

    inputs.require_suffix(output, ".extxyz", ".xyz")
    table = output.with_suffix(".csv")
    require_numbers(above=0, fmax=fmax)
    require_counts(steps=steps)
    inputs.refuse_inputs(files, [output, table])
    inputs.refuse_existing([output, table], resume, overwrite)
    inputs.output_folder(output.parent)
    results = Results(table, output, keep=resume)
    predictor = _predictor(model)
    calculator = predictor.as_calculator()
    settings = predictor.digest, fmax, fixed_cell
    described = crystal_frames.described(*settings)
    crystal_frames.refuse_other_settings(table, results.earlier.values(), described)
    frames = crystal_frames.read(files)
    rows: list[Row] = []
    with progress_bar() as bar:
        task = bar.add_task("relaxing", total=len(frames), note="")
        for frame in frames:
            name = frame[0]
            bar.update(task, note=name)
            key = crystal_frames.key(frame, *settings)
            if not _is_done(results.earlier.get(name), key, steps):
                crystal = crystal_frames.crystal(frame)
                row, atoms = _relaxed(
                    name, crystal, predictor, calculator, fmax, steps, not fixed_cell
                )
                row |= {"settings": described, "key": key}
                rows.append(row)
                if atoms is not None:
                    results.add(row, atoms)
                    results.write()
            bar.advance(task)
    _print_rows("Relaxations", rows, CHANGES)
    failed = len(rows) - len(results.new)
    done = len(frames) - failed
    files_made = f": {output}, {table}" if done else ""
    stdout.print(f"{done} of {len(frames)} crystals relaxed{files_made}")
    if left := sum(row.get("converged") is False for row in rows):
        stdout.print(
            f"{left} did not converge in {steps} steps; --resume with more "
            "--steps relaxes these again"
        )
    if failed:
        raise typer.Exit(USER_ERROR)


def embed(
    files: Files,
    embedding: Annotated[
        str, typer.Option(help="Of the molecule: none, volume, axes or mo3enet[:FILE].")
    ] = "axes",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File: .npz or .csv.", metavar="FILE")
    ] = Path("embeddings.npz"),
    overwrite: inputs.Overwrite = False,
) -> None:
    """Describe crystals by numbers: 12 parameters and an embedding of the molecule.

    Writes names, parameters (a b c in Angstrom, alpha beta gamma in degrees, fractional
    centroid, rotation vector), space groups, and scalars and vectors of the molecule as
    it is posed in the crystal. One independent molecule is needed; other crystals are
    reported and left out, and the exit code is then 2. A .csv has the same numbers as
    columns.

    [bold]Examples[/bold]

      [cyan]equicalc crystals embed *.cif --embedding volume -o packings.npz[/cyan]

      [cyan]equicalc crystals embed *.cif --embedding mo3enet -o packings.csv[/cyan]
    """
    from equicalc.cli.console import stdout
    from equicalc.crystals.embeddings import embed_crystals, named_embedding
    from equicalc.embedding.files import check_suffix

    method = named_embedding(embedding)
    check_suffix(output)
    inputs.refuse_inputs(files, [output])
    inputs.refuse_existing([output], resume=None, overwrite=overwrite)
    inputs.output_folder(output.parent)
    names: list[str] = []
    found: list[MolecularCrystal] = []
    rows: list[Row] = []
    for frame in crystal_frames.read(files):
        name, crystal = frame[0], crystal_frames.crystal(frame)
        row: Row = {"file": name, "status": "ok", "message": ""}
        if isinstance(crystal, dict):
            row = crystal
        elif len(crystal.molecules) > 1:
            row |= {"status": "z-prime", "message": "several independent molecules"}
        else:
            names.append(name)
            found.append(crystal)
        rows.append(row)
    if found:
        _write_embeddings(output, names, embed_crystals(found, method))
    _print_rows(f"Embeddings, {embedding}", rows, ("file",))
    file_made = f": {output}" if found else ""
    stdout.print(f"{len(found)} of {len(rows)} crystals embedded{file_made}")
    if len(found) < len(rows):
        raise typer.Exit(USER_ERROR)


def _print_rows(title: str, rows: list[Row], columns: tuple[str, ...]) -> None:
    """Print a table of the crystals that went well, and a line for each problem."""
    from equicalc.cli.console import print_table, stderr

    good = [row for row in rows if row["status"] == "ok"]
    if good:
        print_table(title, [{c: row.get(c, "") for c in columns} for row in good])
    for row in rows:
        if row["status"] != "ok":
            print_error(f"{row['file']}: {row['message']} ({row['status']})")
        elif row.get("message"):
            stderr.print(f"{row['file']}: {row['message']}", style="yellow")


def _write_embeddings(
    path: Path, names: list[str], arrays: dict[str, NDArray[np.float64]]
) -> None:
    """Write an array of every kind, or one line with all numbers of a crystal."""
    import numpy as np

    from equicalc.cli.results import write_csv

    if path.suffix == ".npz":
        columns: dict[str, Any] = {**arrays}
        np.savez(path, names=np.array(names), **columns)
        return
    rows: list[Row] = [{"file": name} for name in names]
    for kind, array in arrays.items():
        for index in np.ndindex(array.shape[1:]):
            column = "_".join([kind, *map(str, index)])
            for row, numbers in zip(rows, array):
                row[column] = numbers[index]
    write_csv(path, rows)


def _predictor(model: str | None) -> LatticeEnergyPredictor:
    from equicalc.crystals import LatticeEnergyPredictor

    return LatticeEnergyPredictor.from_pretrained(model)


def _score_all(
    rows: dict[str, Row],
    frames: list[Frame],
    predictor: LatticeEnergyPredictor,
    strain: Strain | None,
    table: Path,
) -> None:
    """Add the rows of crystals that have none of their own; write now and then."""
    from equicalc.cli.console import progress_bar
    from equicalc.cli.results import kept, write_csv

    settings = predictor.digest, strain is not None
    keys = {frame[0]: crystal_frames.key(frame, *settings) for frame in frames}
    left = [one for one in frames if not _is_done(rows.get(one[0]), keys[one[0]])]
    size = TOGETHER if strain is None else STRAINED_TOGETHER
    with (
        progress_bar() as bar,
        kept(lambda: write_csv(table, list(rows.values()))) as save,
    ):
        done = len(frames) - len(left)
        task = bar.add_task("scoring", total=len(frames), completed=done, note="")
        for first in range(0, len(left), size):
            block = left[first : first + size]
            for row in _scored(predictor, block, strain):
                name = str(row["file"])
                rows[name] = row | {"key": keys[name]}
            save()
            bar.advance(task, len(block))


def _scored(
    predictor: LatticeEnergyPredictor, frames: list[Frame], strain: Strain | None
) -> list[Row]:
    """Rows of some frames, in their order."""
    crystals = [(frame[0], crystal_frames.crystal(frame)) for frame in frames]
    good = [(name, one) for name, one in crystals if not isinstance(one, dict)]
    scored = predictor.score(
        [one for _, one in good], [name for name, _ in good], strain
    )
    by_place = iter(scored)
    return [one if isinstance(one, dict) else next(by_place) for _, one in crystals]


def _is_done(row: Row | None, key: str, steps: int = 0) -> bool:
    """Whether a row of an earlier call is of this very structure, treated alike.

    A relaxation that did not converge must have had as many steps.
    """
    if row is None or row.get("status") != "ok" or row.get("key") != key:
        return False
    return row.get("converged") == "True" or int(str(row.get("steps", 0))) >= steps


def _place(row: Row) -> tuple[bool, str, float]:
    """Failed crystals last, the others by formula and energy."""
    energy = row.get("energy_kJ/mol")
    failed = not isinstance(energy, float)
    return failed, str(row.get("formula", "")), 0.0 if failed else energy


def _relaxed(
    name: str,
    crystal: MolecularCrystal | Row,
    predictor: LatticeEnergyPredictor,
    calculator: BaseCalculator,
    fmax: float,
    steps: int,
    cell: bool,
) -> tuple[Row, Atoms | None]:
    """Relax one crystal; say how it went, and what came out if anything did."""
    from equicalc.simulation import relax as relax_structure
    from equicalc.units import KJ_PER_MOL

    row: Row = {"file": name}
    if isinstance(crystal, dict):
        return crystal, None
    try:
        predictor.require_known(crystal)
        done = relax_structure(
            crystal.to_atoms(),
            calculator,
            fmax=fmax,
            steps=steps,
            cell=cell,
        )
    except Exception as error:  # a strange structure must not stop the others
        code = getattr(error, "code", "failed")
        message = f"{type(error).__name__}: {error}"
        return row | {"status": code, "message": message}, None
    gain = (done.energy - done.energy_start) / crystal.n_molecules / KJ_PER_MOL
    return row | {
        "status": "ok",
        "steps": done.steps,
        "converged": done.converged,
        "fmax_eV/A": done.fmax,
        "change_kJ/mol": gain,
        "volume_change_%": 100 * (done.atoms.get_volume() / crystal.volume - 1),
        "message": "; ".join(predictor.doubts(done.atoms, crystal)),
    }, done.atoms
