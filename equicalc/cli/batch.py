"""Run one thing for each of several structures, and go on when one fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from equicalc.cli.console import progress_bar, stderr
from equicalc.cli.errors import USER_ERROR, exit_code, message_of, print_error
from equicalc.cli.inputs import Named

if TYPE_CHECKING:
    from ase import Atoms

Advance = Callable[[int, str], None]
"""Tells the bar of a structure the step and a note."""


def for_each(
    structures: Sequence[Named], steps: int, work: Callable[[Named, Advance], None]
) -> int:
    """Call `work` for each structure, with a bar; return the exit code.

    A single structure raises its error. Of several, those that fail are reported and
    passed over.
    """
    codes: list[int] = []
    with progress_bar() as bar:
        total = bar.add_task("structures", total=len(structures), note="")
        for named in structures:
            task = bar.add_task(named.name, total=steps, note="")

            def advance(step: int, note: str, task: int = task) -> None:
                bar.update(task, completed=step, note=note)  # pyright: ignore[reportArgumentType]

            try:
                work(named, advance)
            except Exception as error:
                code, message = exit_code(error), f"{named.name}: {message_of(error)}"
                if len(structures) == 1:
                    if code == USER_ERROR:
                        raise ValueError(message) from error
                    raise
                codes.append(code)
                print_error(message)
            bar.remove_task(task)
            bar.advance(total)
    if codes:
        stderr.print(f"{len(codes)} of {len(structures)} structures failed")
    return min(codes, default=0)  # an error of ours is 1, what a user can mend 2


def usable(
    structures: Sequence[Named], work: Callable[[list[Atoms]], object]
) -> list[Named]:
    """Return the structures that `work` takes; the others are reported, with reasons.

    All are tried together, and in halves if that fails.
    """
    try:
        work([named.atoms for named in structures])
    except Exception as error:
        if exit_code(error) != USER_ERROR:
            raise
        if len(structures) > 1:
            half = len(structures) // 2
            return usable(structures[:half], work) + usable(structures[half:], work)
        message = message_of(error).removeprefix("structure 0: ")
        print_error(f"{structures[0].name}: {message}")
        return []
    return list(structures)
