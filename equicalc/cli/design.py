"""``equicalc design``: the loop of a configuration file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from equicalc.cli import inputs

if TYPE_CHECKING:
    from equicalc.design import Record, RunDatabase

SHOWN = 10
"""Lines of the table."""


def design(
    config: Annotated[Path, typer.Argument(help="YAML file.", metavar="LOOP.yaml")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Another folder than the file says."),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Another number of rounds.", min=1)
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", "-w", help="Processes; 0: all cores.", min=0)
    ] = 1,
    scheduler: inputs.Scheduler = None,
) -> None:
    r"""Generate molecules, work through steps, score, learn from the scores, repeat.

    The file says where molecules come from, what is done with them and what makes them
    good. All structures, with scores or the reason of their rejection, go into
    [cyan]run.db[/cyan] in the output folder, the best also into
    [cyan]best.extxyz[/cyan]. A run that was stopped, by whatever, goes on when the same
    command is given again.

    The smallest file (more keys: [cyan]equicalc.design.Design[/cyan]):

      [cyan]output: runs/first[/cyan]

      [cyan]steps: \[valid, unique, synthesizable, {score: {goals: {sa_score: -1}}}]
      [/cyan]

    [bold]Examples[/bold]

      [cyan]equicalc design loop.yaml --workers 0[/cyan]

      [cyan]equicalc design loop.yaml --scheduler tcp://login:8786[/cyan]

      [cyan]equicalc report runs/first/run.db -o report[/cyan]
    """
    from equicalc import design as designs
    from equicalc.cli.console import print_table, progress_bar, stdout

    plan = designs.load_design(config)
    changed = {"output": output, "rounds": rounds}
    plan = plan.model_copy(
        update={name: value for name, value in changed.items() if value is not None}
    )
    inputs.output_folder(plan.output)
    with progress_bar() as bar:
        task = bar.add_task("design", total=None, note="")

        def report(now: designs.Progress) -> None:
            note = f"round {now.round + 1} of {now.rounds}: {now.stage}"
            bar.update(task, total=now.total, completed=now.done, note=note)

        best = designs.run(plan, designs.Workers(workers, scheduler), report)
    database = designs.open_database(plan)
    if best:
        print_table("The best", [_line(record) for record in best[:SHOWN]])
        designs.write_best(plan.output / "best.extxyz", best)
    stdout.print(
        f"{len(database)} structures, {len(best)} of them the best: {database.where}"
    )
    if not best:
        stdout.print(_commonest(database))


def _commonest(database: RunDatabase) -> str:
    """Say why most structures of a run were rejected."""
    rejected = database.stream(status="rejected")
    reasons = Counter(f"{one.step}: {one.reason}" for one in rejected)
    if not reasons:
        return "none has a score"
    [(reason, n)] = reasons.most_common(1)
    return f"rejected: {reasons.total()}, for one reason {n} of them: {reason}"


def _line(record: Record) -> dict[str, object]:
    info = record.atoms.info
    return {
        "rank": info["rank"],
        "key": record.key,
        "molecule": info.get("smiles", str(record.atoms.symbols)),
        "score": info["score"],
    }
