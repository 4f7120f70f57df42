"""``equicalc md``: molecular dynamics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from equicalc.cli import inputs


def md(
    structures: inputs.Structures,
    model: inputs.Model = None,
    calculator: inputs.Calculator = None,
    time: Annotated[float, typer.Option(help="Length of the run, ps.")] = 1.0,
    timestep: Annotated[float, typer.Option(help="fs.")] = 0.5,
    temperature: Annotated[float, typer.Option("--temperature", "-T", help="K.")] = 300,
    ensemble: Annotated[
        str,
        typer.Option(
            help="nve (constant energy), nvt (Langevin) or npt (Langevin, isotropic "
            "barostat; for crystals and liquids)."
        ),
    ] = "nvt",
    pressure: Annotated[float, typer.Option(help="GPa, for npt.")] = 0.0,
    friction: Annotated[
        float, typer.Option(help="Of the Langevin thermostat, 1/fs.")
    ] = 0.01,
    every: Annotated[int, typer.Option(help="Steps from frame to frame.")] = 20,
    relax_first: Annotated[
        bool, typer.Option(help="Relax before, at most 200 steps to 0.05 eV/Å.")
    ] = True,
    output: inputs.Output = Path("md"),
    resume: inputs.Resume = False,
    overwrite: inputs.Overwrite = False,
    seed: inputs.Seed = 0,
    device: inputs.Device = "auto",
) -> None:
    """Move structures in time.

    Writes into the output folder, for each structure, the trajectory
    [cyan]NAME.md.extxyz[/cyan] and the table [cyan]NAME.md.csv[/cyan] of time,
    temperature and energies, as it goes. A run that was stopped in whatever way goes
    on with [cyan]--resume[/cyan]; with a longer [cyan]--time[/cyan] a finished one too.

    [bold]Examples[/bold]

      [cyan]equicalc md CCO --time 2 --temperature 500[/cyan]

      [cyan]equicalc md CCO --time 20 --temperature 500 --resume[/cyan]

      [cyan]equicalc md start.xyz --ensemble nve --timestep 0.25 --every 1[/cyan]

      [cyan]equicalc md liquid.extxyz@-1 --ensemble npt --pressure 0.0001[/cyan]
    """
    from equicalc.cli.batch import Advance, for_each
    from equicalc.cli.console import print_table, stdout
    from equicalc.cli.results import Results
    from equicalc.simulation import Dynamics, molecular_dynamics

    if not (0 < timestep < math.inf and 0 <= time < math.inf):
        raise ValueError(f"no run of {time} ps in steps of {timestep} fs is possible")
    steps = round(1000 * time / timestep)
    if time and not steps:
        raise ValueError(f"{time} ps are less than one step of {timestep} fs")
    if pressure and ensemble != "npt":
        raise ValueError(f"{ensemble} keeps no pressure: give --ensemble npt with it")
    found = inputs.read_structures(structures, seed)
    folder = inputs.output_folder(output)
    paths = {named.name: folder / f"{named.name}.md.extxyz" for named in found}
    inputs.refuse_inputs(structures, paths.values())
    inputs.refuse_existing(paths.values(), resume, overwrite)
    results = Results(folder / "summary.csv", None, keep=not overwrite)
    calc = inputs.build_calculator(model, calculator, device)

    def work(named: inputs.Named, advance: Advance) -> None:
        path = paths[named.name]
        if relax_first:
            advance(0, "relaxing")
        result = molecular_dynamics(
            named.atoms,
            calc,
            steps=steps,
            timestep=timestep,
            ensemble=ensemble,
            temperature=temperature,
            pressure=pressure,
            friction=friction,
            seed=seed,
            every=every,
            relax_first=relax_first,
            trajectory=path,
            log=path.with_suffix(".csv"),
            resume=resume,
            progress=lambda step, now: advance(
                step, f"{now['temperature_K']:.0f} K, {now['total_eV']:.4f} eV"
            ),
        )
        results.add(
            {
                "structure": named.name,
                "formula": named.atoms.get_chemical_formula(),
                "time_ps": result.time / 1000,
                "temperature_K": result.temperature,
                "energy_eV": float(result.history["total_eV"][-1]),
                **drift(result),
                "seconds": result.seconds,
            }
        )

    def drift(result: Dynamics) -> dict[str, object]:
        shown = ensemble == "nve"
        return {"drift_meV/atom/ps": 1000 * result.drift} if shown else {}

    try:
        code = for_each(found, steps, work)
    finally:
        results.write()
    if results.new:
        print_table(f"{ensemble.upper()} with {calc.__class__.__name__}", results.new)
        stdout.print(f"trajectories and tables: {folder}/*.md.extxyz, *.md.csv")
    if code:
        raise typer.Exit(code)
