"""Finished work on disk: files that appear whole or not at all.

Every finished unit of work gets a small file of the same format as a shard, in a folder
named after its shard. When the last unit of a shard is there, the shard replaces them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equicalc.data.arrays import read_npz
from equicalc.data.damage import naming

Record = dict[str, Any]
PER_ATOM = ("z", "pos", "forces", "charges")
PLAN_FILE = "plan.json"
FAILURES_FILE = "failures.jsonl"
BROKEN = "is not a whole shard: delete it and give the same labelling command again"


def shard_path(out: Path, index: int) -> Path:
    """File of shard `index` in the folder of a run."""
    return out / "shards" / f"{index:06d}.npz"


def unit_path(shard: Path, unit: int) -> Path:
    """File of one finished unit of a shard that is not complete."""
    return shard.with_suffix("") / f"{unit:08d}.npz"


def merge_units(shard: Path) -> None:
    """Write a shard from the files of its units, in order, and remove these."""
    units = sorted(shard.with_suffix("").glob("*.npz"))
    records = list(read_records(units))
    failures = [failure for unit in units for failure in read_failures(unit)]
    write_shard(shard, records, failures)
    shutil.rmtree(shard.with_suffix(""))


def write_shard(path: Path, records: list[Record], failures: list[Record]) -> None:
    """Write a shard under a temporary name, then move it into place."""
    arrays: dict[str, Any] = {"failures": np.array(json.dumps(failures))}
    arrays["n_atoms"] = np.array([len(r["z"]) for r in records], dtype=np.int32)
    for name in records[0] if records else ():
        column = [record[name] for record in records]
        arrays[name] = np.concatenate(column) if name in PER_ATOM else np.stack(column)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_shard(path: Path) -> list[Record]:
    """Read the records of a shard.

    Raises
    ------
    ValueError
        If the file is not a whole shard.
    """
    with naming(path, BROKEN, always=True):
        arrays = read_npz(path)
        del arrays["failures"]
        ends = np.cumsum(arrays.pop("n_atoms"))
        if not len(ends):
            return []
        columns = [
            np.split(array, ends[:-1]) if name in PER_ATOM else array
            for name, array in arrays.items()
        ]
        rows = zip(*columns, strict=True)
        return [dict(zip(arrays, row, strict=True)) for row in rows]


def read_failures(path: Path) -> list[Record]:
    """Read the failures of a shard.

    Raises
    ------
    ValueError
        If the file is not a whole shard.
    """
    with naming(path, BROKEN, always=True):
        return json.loads(str(read_npz(path, ["failures"])["failures"]))


def finished_files(out: Path) -> list[Path]:
    """Shards of a run and, of shards that are not complete, units; in order."""
    folder = out / "shards"
    units = folder.glob("*/*.npz")
    incomplete = [u for u in units if not u.parent.with_suffix(".npz").exists()]
    return sorted([*folder.glob("*.npz"), *incomplete])


def read_records(files: Iterable[Path]) -> Iterator[Record]:
    """All records of some shards or units, in order."""
    for file in files:
        yield from read_shard(file)


def pack_shards(out: str | Path | Sequence[str | Path], dest: str | Path) -> Path:
    """Pack all finished work of runs, complete or still going, into one data set.

    Parameters
    ----------
    out
        Folder of the labelling run, or of several; the first one's description is
        kept.
    dest
        New folder for the packed data set.

    Returns
    -------
    pathlib.Path
        `dest`.

    Raises
    ------
    ValueError
        If `out` is not a labelling run or nothing of it is finished.
    FileExistsError
        If there is something at `dest` already.
    """
    from equicalc.data import write_packed

    runs = [Path(run) for run in ([out] if isinstance(out, str | Path) else out)]
    dest = Path(dest)
    descriptions, files = [], []
    for run in runs:
        try:
            descriptions.append(json.loads((run / PLAN_FILE).read_text())["meta"])
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{run} is not a labelling run: {error}") from error
        files += finished_files(run)
    if not files:
        raise ValueError(f"nothing of {', '.join(map(str, runs))} is finished yet")
    kinds = max((one["kinds"] for one in descriptions), key=len)  # later ones add some
    write_packed(dest, read_records(files), descriptions[0] | {"kinds": kinds})
    return dest


def rebuild_failures(out: Path, rejected: list[Record]) -> None:
    """Write the list of failures anew from the plan and the finished work."""
    lines = [*rejected]
    for file in finished_files(out):
        lines += read_failures(file)
    temporary = out / f"{FAILURES_FILE}.part"
    temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))
    temporary.replace(out / FAILURES_FILE)


def count_failures(out: Path) -> tuple[int, int]:
    """Count molecules that were left out of the plan, and structures that failed."""
    lines = (out / FAILURES_FILE).read_text().splitlines()
    left_out = sum(json.loads(line)["unit"] is None for line in lines)
    return left_out, len(lines) - left_out


def append_failures(out: Path, failures: list[Record]) -> None:
    """Add failures to the list."""
    with (out / FAILURES_FILE).open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in failures)
