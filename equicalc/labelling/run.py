"""Run a labelling plan: parallel, streaming to disk, resumable."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from equicalc.calculators.named import named_calculator
from equicalc.data.locking import locked
from equicalc.labelling import shards
from equicalc.labelling.options import LabelOptions
from equicalc.labelling.plan import Plan, make_plan
from equicalc.labelling.pool import label_units, usable_cores
from equicalc.labelling.sampling import KINDS, Unit
from equicalc.labelling.worker import Result, Task, whole_unit
from equicalc.workers import Workers

logger = logging.getLogger(__name__)

LEVELS = {"gfn2": "GFN2-xTB (tblite)"}


@dataclass
class Progress:
    """How far a run is.

    Parameters
    ----------
    units, n_units
        Finished units of work, those of earlier calls included, and all there are.
    structures, failures
        Structures labelled and failures met in this call.
    """

    units: int
    n_units: int
    structures: int = 0
    failures: int = 0


def label(
    options: LabelOptions,
    report: Callable[[Progress], None] | None = None,
    command: str = "",
    scheduler: str | None = None,
) -> Path:
    """Make, label and pack all structures of a run.

    Every finished molecule, pair or cluster is kept: the same call after an
    interruption, even ``kill -9``, does the rest and gives the same data set, bit for
    bit. What could not be labelled is listed with its reason in
    ``out/failures.jsonl``.

    Parameters
    ----------
    options
        What to do.
    report
        Called after each unit of work.
    command
        Command line to store with the data.
    scheduler
        Address of a Dask scheduler whose workers do the work instead of local
        processes, ``tcp://...``; they know no timeout.

    Returns
    -------
    pathlib.Path
        The packed data set, ``out/packed``.

    Raises
    ------
    ValueError
        If a source cannot be read, the calculator is not known, `out` cannot be
        written or holds a run of other options, another process labels into it, no
        scheduler answers, or nothing could be labelled.
    ImportError
        If the calculator is not installed.
    WorkerError
        If worker processes cannot start.
    """
    named_calculator(options.calculator)
    out = Path(options.out).expanduser()
    packed = out / "packed"
    plan = make_plan(options)
    _make_folder(out)
    with locked(out):
        _open(out, plan, options, command)
        unfinished = _unfinished(out, plan, options.shard_units)
        logger.info("%d units to do in %s", sum(map(len, unfinished.values())), out)
        if packed.exists():
            if not unfinished:
                return packed
            shutil.rmtree(packed)
        _work(out, unfinished, plan, options, report or _ignore, scheduler)
        return shards.pack_shards(out, packed)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write to the folder {out}: {error}") from error


def _unfinished(out: Path, plan: Plan, size: int) -> dict[Path, list[Unit]]:
    """Shards that are not on disk yet, and those of their units that are not."""
    left = {}
    for index, start in enumerate(range(0, len(plan.units), size)):
        shard = shards.shard_path(out, index)
        if not shard.exists():
            units = plan.units[start : start + size]
            left[shard] = [
                u for u in units if not shards.unit_path(shard, u.index).exists()
            ]
    return left


def _work(
    out: Path,
    unfinished: dict[Path, list[Unit]],
    plan: Plan,
    options: LabelOptions,
    report: Callable[[Progress], None],
    scheduler: str | None,
) -> None:
    task = Task(options.calculator, options.seed, options.max_force, options.timeout)
    units = [unit for block in unfinished.values() for unit in block]
    progress = Progress(len(plan.units) - len(units), len(plan.units))
    left = {shard: len(block) for shard, block in unfinished.items()}
    for shard in (shard for shard, n_units in left.items() if not n_units):
        shards.merge_units(shard)
    if scheduler is None:
        work = label_units(units, task, options.workers or usable_cores())
    else:
        work = _on_cluster(units, task, scheduler)
    with closing(work) as results:
        for result in results:
            shard = shards.shard_path(out, result.unit.index // options.shard_units)
            path = shards.unit_path(shard, result.unit.index)
            shards.write_shard(path, result.records, result.failures)
            shards.append_failures(out, result.failures)
            left[shard] -= 1
            if not left[shard]:
                shards.merge_units(shard)
            progress.units += 1
            progress.structures += len(result.records)
            progress.failures += len(result.failures)
            report(progress)


def _on_cluster(
    units: list[Unit], task: Task, scheduler: str
) -> Generator[Result, None, None]:
    """Label units by the workers of a Dask scheduler, see `label_units`."""
    with Workers(scheduler=scheduler) as workers:
        yield from workers.map(partial(whole_unit, task), units)


def _open(out: Path, plan: Plan, options: LabelOptions, command: str) -> None:
    """Start a run in `out`, or make sure that the run there is the same one."""
    choices = {
        "calculator": options.calculator,
        "seed": options.seed,
        "max_force": options.max_force,
        "shard_units": options.shard_units,
        "plan": plan.fingerprint,
        "groups": plan.groups,
    }
    file = out / shards.PLAN_FILE
    rejected = [
        {"unit": None, "molecule": r.name, "kind": "molecule", "reason": r.reason}
        for r in plan.rejected
    ]
    try:
        if file.exists():
            _require_same(out, choices, _choices_before(file))
        else:
            content = {
                "choices": choices,
                "n_units": len(plan.units),
                "meta": _meta(options, command),
            }
            temporary = file.with_suffix(".part")
            temporary.write_text(json.dumps(content, indent=1))
            temporary.replace(file)
        shards.rebuild_failures(out, rejected)
    except OSError as error:
        raise ValueError(f"cannot write to the folder {out}: {error}") from error


def _choices_before(plan_file: Path) -> dict[str, Any]:
    try:
        return json.loads(plan_file.read_text())["choices"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{plan_file} is damaged ({error}); give another folder, or delete the "
            "file and give the very command of that run again"
        ) from error


def _require_same(out: Path, now: dict[str, Any], before: dict[str, Any]) -> None:
    before = {"groups": now["groups"], **before}  # which early runs did not note
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        raise ValueError(
            f"{out} holds a run with another {', '.join(changed)}; give another "
            "folder, or the options of that run to resume it"
        )


def _meta(options: LabelOptions, command: str) -> dict[str, Any]:
    return {
        "kinds": list(KINDS),
        "level_of_theory": LEVELS.get(options.calculator, options.calculator),
        "source": ", ".join(source.path for source in options.sources),
        "licence": options.licence,
        "command": command,
        "options": asdict(options),
        "always_train_groups": [0],
    }


def _ignore(progress: Progress) -> None:
    del progress
