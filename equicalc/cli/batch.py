"""Run one thing for each of several structures, and go on when one fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from equicalc.cli.console import progress_bar, stderr
from equicalc.cli.errors import message_of, print_error
from equicalc.cli.inputs import Named

Advance = Callable[[int, str], None]
"""Tells the bar of a structure the step and a note."""


def for_each(
    structures: Sequence[Named], steps: int, work: Callable[[Named, Advance], None]
) -> int:
    """Call `work` for each structure, with a bar; return how many failed.

    A single structure raises its error. Of several, those that fail are reported and
    passed over.
    """
    failed = 0
    with progress_bar() as bar:
        total = bar.add_task("structures", total=len(structures), note="")
        for named in structures:
            task = bar.add_task(named.name, total=steps, note="")

            def advance(step: int, note: str, task: int = task) -> None:
                bar.update(task, completed=step, note=note)  # pyright: ignore[reportArgumentType]

            try:
                work(named, advance)
            except (ValueError, RuntimeError) as error:
                if len(structures) == 1:
                    raise _with_name(error, named.name) from error
                failed += 1
                print_error(f"{named.name}: {message_of(error)}")
            bar.remove_task(task)
            bar.advance(total)
    if failed:
        stderr.print(f"{failed} of {len(structures)} structures failed")
    return failed


def _with_name(error: Exception, name: str) -> Exception:
    """Name the structure in the message."""
    return ValueError(f"{name}: {message_of(error)}")
