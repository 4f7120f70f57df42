"""``equicalc relax``: relax structures to the nearest minimum."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equicalc.cli import inputs


def relax(
    structures: inputs.Structures,
    model: inputs.Model = None,
    calculator: inputs.Calculator = None,
    fmax: Annotated[
        float, typer.Option(help="Converged below this force, eV/Å.")
    ] = 0.01,
    steps: Annotated[int, typer.Option(help="Steps to give up after.")] = 500,
    optimizer: Annotated[
        str, typer.Option(help="lbfgs, bfgs, bfgs-line-search, fire or fire2.")
    ] = "lbfgs",
    cell: Annotated[
        bool, typer.Option("--cell", help="Relax the cell of a crystal too.")
    ] = False,
    output: inputs.Output = Path("relaxed"),
    resume: inputs.Resume = False,
    overwrite: inputs.Overwrite = False,
    seed: inputs.Seed = 0,
    device: inputs.Device = "auto",
) -> None:
    """Relax structures to the nearest minimum of the energy.

    Writes into the output folder [cyan]relaxed.extxyz[/cyan] (all final structures),
    [cyan]relaxed.csv[/cyan] (the table that is printed) and
    [cyan]NAME.steps.extxyz[/cyan] (every step of each). With [cyan]--resume[/cyan],
    what other calls left in the first two is kept. A structure that did not converge
    is named, but no error.

    [bold]Examples[/bold]

      [cyan]equicalc relax CCO[/cyan]

      [cyan]equicalc relax start.xyz 'CC(=O)O' --fmax 0.005 -o minima[/cyan]

      [cyan]equicalc relax crystal.cif --cell --model my.safetensors[/cyan]

      [cyan]equicalc relax molecules.smi --calculator gfn2[/cyan]
    """
    from equicalc import simulation
    from equicalc.cli.batch import Advance, for_each
    from equicalc.cli.console import print_table, stderr, stdout
    from equicalc.cli.results import Results

    found = inputs.read_structures(structures, seed)
    folder = inputs.output_folder(output)
    paths = {named.name: folder / f"{named.name}.steps.extxyz" for named in found}
    final = folder / "relaxed.extxyz"
    inputs.refuse_inputs(structures, [*paths.values(), final])
    inputs.refuse_existing([*paths.values(), final], resume, overwrite)
    results = Results(folder / "relaxed.csv", final, keep=not overwrite)
    calc = inputs.build_calculator(model, calculator, device)

    def work(named: inputs.Named, advance: Advance) -> None:
        result = simulation.relax(
            named.atoms,
            calc,
            fmax=fmax,
            steps=steps,
            optimizer=optimizer,
            cell=cell,
            trajectory=paths[named.name],
            resume=resume,
            progress=lambda step, now: advance(
                step, f"{now['energy']:.4f} eV, fmax {now['fmax']:.4f} eV/Å"
            ),
        )
        results.add(
            {
                "structure": named.name,
                "formula": named.atoms.get_chemical_formula(),
                "converged": result.converged,
                "steps": result.steps,
                "energy_eV": result.energy,
                "change_eV": result.energy - result.energy_start,
                "fmax_eV/A": result.fmax,
                "seconds": result.seconds,
            },
            result.atoms,
        )

    try:
        code = for_each(found, steps, work)
    finally:
        results.write()
    if results.new:
        print_table(f"Relaxed with {calc.__class__.__name__}", results.new)
        stdout.print(f"structures: {final}   every step: {folder}/*.steps.extxyz")
    if left := sum(not row["converged"] for row in results.new):
        stderr.print(
            f"{left} of {len(results.new)} structures did not converge in {steps} "
            "steps; --resume goes on, with more --steps"
        )
    if code:
        raise typer.Exit(code)
