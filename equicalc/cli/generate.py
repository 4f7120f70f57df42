"""``equicalc generate`` and ``equicalc complete``: make molecules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from equicalc.cli import inputs
from equicalc.cli.shared_options import with_options
from equicalc.data.locking import locked

if TYPE_CHECKING:
    from ase import Atoms

    from equicalc.generators import Builder

Number = Annotated[int, typer.Option("-n", help="How many molecules.", min=1)]
Generator = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="A shipped generator or the file of a checkpoint."
    ),
]
File = Annotated[
    Path,
    typer.Option("--output", "-o", help="File: .extxyz, .db or .sdf.", metavar="FILE"),
]
Focus = Annotated[
    float, typer.Option(help="Temperature of focus, element and stopping.", min=0.01)
]
Position = Annotated[float, typer.Option(help="Temperature of positions.", min=0.01)]
BatchSize = Annotated[int, typer.Option(help="Molecules that grow in step.", min=1)]
ValidOnly = Annotated[
    bool,
    typer.Option("--valid-only", help="Go on until so many valid ones are there."),
]
TimeLimit = Annotated[
    float | None, typer.Option(help="Begin no batch after so many seconds.")
]
Valence = Annotated[
    bool | None,
    typer.Option(
        "--valence/--no-valence",
        help="No atom gets more bonds than it can, none is out of reach of a bond, no "
        "distance is between those of bonds and of strangers, double bonds are flat, "
        "and no molecule ends with an odd number of electrons; --no-valence for ions "
        "and radicals.",
        show_default="for H, C, N, O, F",
    ),
]
Clash = Annotated[
    float | None,
    typer.Option(
        help="Keep atoms that are not bonded apart by so many times the sum of their "
        "covalent radii, such as 1.25.",
        show_default=False,
    ),
]
Elements = Annotated[
    str | None,
    typer.Option(help="Elements that may be added, such as H,C,O.", show_default=False),
]
Formula = Annotated[
    str | None,
    typer.Option(help="Composition of all molecules: C5H8O.", show_default=False),
]
MinAtoms = Annotated[int, typer.Option(help="Atoms of the smallest molecule.", min=0)]
MaxAtoms = Annotated[
    int | None,
    typer.Option(help="Atoms of the largest molecule.", show_default=False),
]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


@dataclass
class GenerateOptions:
    """What both commands ask: how many molecules, of what kind, and where to."""

    n: Number = 100
    model: Generator = "symphony"
    output: File = Path("molecules.extxyz")
    seed: inputs.Seed = 0
    focus_temperature: Focus = 1.1
    position_temperature: Position = 0.02
    valid_only: ValidOnly = False
    valence: Valence = None
    clash: Clash = None
    elements: Elements = None
    formula: Formula = None
    min_atoms: MinAtoms = 0
    max_atoms: MaxAtoms = None
    batch_size: BatchSize = 128
    time_limit: TimeLimit = None
    resume: inputs.Resume = False
    overwrite: inputs.Overwrite = False
    device: Device = "cpu"

    def builder(self) -> Builder:
        """Load the generator."""
        from equicalc import generators

        return generators.load_builder(self.model, self.device)

    def how(self, environment: Atoms | None = None) -> dict[str, Any]:
        """Return temperature and rules as a builder takes them."""
        from equicalc.generators import Rules, Temperature

        elements = self.elements
        rules = Rules(
            valence=self.valence,
            clash=self.clash,
            elements=None if elements is None else elements.replace(" ", "").split(","),
            formula=self.formula,
            min_atoms=self.min_atoms,
            max_atoms=self.max_atoms,
            environment=environment,
        )
        temperature = Temperature(self.focus_temperature, self.position_temperature)
        return {"temperature": temperature, "rules": rules}


@dataclass
class CompleteOptions(GenerateOptions):
    """The same, of fewer molecules, into another file."""

    n: Number = 10
    output: File = Path("completed.extxyz")


@with_options(GenerateOptions)
def generate(options: GenerateOptions) -> None:
    """Make molecules from nothing.

    Molecule k of a seed has random numbers of its own; the same call gives the same
    molecules. Lower temperatures make safer and less varied molecules.

    [bold]Examples[/bold]

      [cyan]equicalc generate -n 1000 --seed 0 -o mols.extxyz[/cyan]

      [cyan]equicalc generate -n 100 --valid-only -o mols.sdf[/cyan]

      [cyan]equicalc generate -n 20 --formula C5H8O --clash 1.25[/cyan]
    """
    job = _Job(options)
    builder, how = options.builder(), options.how()

    def batch(first: int, size: int) -> list[Atoms]:
        return builder.generate(size, options.seed, first=first, batch_size=size, **how)

    job.run(batch, builder.provenance(**how))


@with_options(CompleteOptions)
def complete(
    structure: Annotated[
        str,
        typer.Argument(help="File or SMILES of the fragment.", metavar="STRUCTURE"),
    ],
    grow_from: Annotated[
        str | None,
        typer.Option(
            help="Indices of atoms to grow from, such as 0,3; all by default.",
            show_default=False,
        ),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option(
            help="File of atoms around the fragment that new ones keep away from.",
            show_default=False,
        ),
    ] = None,
    bare: Annotated[
        bool,
        typer.Option(
            "--bare",
            help="Take the hydrogens off and place them anew, to have heavy atoms "
            "added; --grow-from counts them all the same.",
        ),
    ] = False,
    *,
    options: CompleteOptions,
) -> None:
    """Add atoms to a fragment until it is a whole molecule.

    The atoms of the fragment keep their places and come first. The shipped generator
    places hydrogens last: to a fragment that has some it adds only more of them.

    [bold]Examples[/bold]

      [cyan]equicalc complete fragment.xyz -n 20 -o whole.extxyz[/cyan]

      [cyan]equicalc complete ring.xyz --grow-from 2,5 --environment pocket.xyz[/cyan]

      [cyan]equicalc complete c1ccccc1 --bare --grow-from 0,3 --max-atoms 16[/cyan]
    """
    from equicalc.generators.fragments import check_fragment, start_from

    job = _Job(options)
    fragment = _one_structure(structure, options.seed)
    foci = None if grow_from is None else _indices(grow_from)
    around = None if environment is None else _one_structure(environment, options.seed)
    builder, how = options.builder(), options.how(around)

    def batch(first: int, size: int) -> list[Atoms]:
        return builder.complete(
            fragment,
            size,
            options.seed,
            first=first,
            batch_size=size,
            grow_from=foci,
            bare=bare,
            **how,
        )

    check_fragment(fragment, builder.model, foci)
    start, kept = start_from(fragment, foci, bare)
    made = builder.provenance(**how, grow_from=kept, bare=bare)
    job.run(batch, made, start)


class _Job:
    """So many molecules, in batches, into a file; what is there already counts."""

    def __init__(self, options: GenerateOptions) -> None:
        from equicalc.generators.storage import check_format

        self.options, self.n, self.output = options, options.n, options.output
        self.valid_only = options.valid_only
        check_format(self.output)
        never = None if self.output.suffix == ".sdf" else False
        resume = options.resume or never
        inputs.refuse_existing([self.output], resume, options.overwrite)
        inputs.output_folder(self.output.parent)

    def run(
        self,
        batch: Callable[[int, int], list[Atoms]],
        made: dict[str, Any],
        given: Atoms | None = None,
    ) -> None:
        """Do what an earlier call left to do, while nobody else writes to the file.

        Parameters
        ----------
        batch
            Makes molecules from the number of the first, and how many.
        made
            What they say of how they are made, see `Builder.provenance`.
        given
            What they grow from.
        """
        from equicalc.generators.storage import written_molecules

        with locked(self.output):
            if self.options.overwrite:
                self.output.unlink(missing_ok=True)
            self.written, self.first = written_molecules(
                self.output,
                self.options.seed,
                given,
                valid_only=self.valid_only,
                **{name: made[name] for name in made if name != "generator"},
            )
            self._write(batch)

    def _write(self, batch: Callable[[int, int], list[Atoms]]) -> None:
        """Write batches as they come, with a bar that counts the valid ones."""
        from equicalc.cli.console import progress_bar, stdout
        from equicalc.generators import ValidFilter
        from equicalc.generators.storage import append_structures

        begun = time.monotonic()
        filtered, written, left_out = ValidFilter(), self.written, 0
        with progress_bar() as bar:
            task = bar.add_task("molecules", total=self.n, completed=written, note="")
            for first, size in self._batches():
                molecules = batch(first, size)
                good = list(filtered(molecules))
                kept = (good if self.valid_only else molecules)[: self.n - written]
                for atoms in kept:
                    atoms.info["valid_only"] = self.valid_only
                left_out += len(kept) - append_structures(self.output, kept)
                written += len(kept)
                note = f"{filtered.valid} of {filtered.made} valid"
                bar.update(task, completed=written, note=note)
                if written >= self.n:
                    break
        seconds = (time.monotonic() - begun) / max(filtered.made, 1)
        share = f" ({100 * filtered.acceptance:.1f} %)" if filtered.made else ""
        stdout.print(
            f"{filtered.made} molecules made, {filtered.valid} valid{share}, "
            f"{seconds:.3f} s each; {written - left_out} of {self.n} in {self.output}"
        )
        if left_out:
            stdout.print(
                f"{left_out} without valid bonds left out: an SDF has bonds, "
                ".extxyz and .db keep all"
            )

    def _batches(self) -> Iterator[tuple[int, int]]:
        """First number and size of batches, until all are made or the time is up."""
        limit = self.options.time_limit
        end = None if limit is None else time.monotonic() + limit
        first = self.first
        while self.valid_only or first < self.n:
            if self.written >= self.n or (end is not None and time.monotonic() > end):
                return
            size = self.options.batch_size
            yield first, size if self.valid_only else min(size, self.n - first)
            first += size


def _one_structure(text: str, seed: int) -> Atoms:
    (first, *others) = inputs.read_structures([text], seed)
    if others:
        raise ValueError(
            f"{text} holds {len(others) + 1} structures: name one, {text}@0"
        )
    return first.atoms


def _indices(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--grow-from {text!r}: give indices such as 0,3") from None
