"""Packed sets of random conformers, made by several processes, resumable."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from equicalc.data.packed import PackedDataset
from equicalc.data.packing import write_packed
from equicalc.data.random_conformers import ConformerOptions, random_conformers
from equicalc.workers import Workers

__all__ = ["write_conformers"]

logger = logging.getLogger(__name__)

#: Conformers of a shard: what is lost, at most, when a process is stopped.
SHARD = 500


def write_conformers(
    path: str | Path,
    smiles: Sequence[str],
    n: int,
    options: ConformerOptions | None = None,
    *,
    seed: int = 0,
    workers: int = 1,
    shard: int = SHARD,
) -> PackedDataset:
    """Write a packed set of random conformers of random molecules.

    Shards are written beside the set; killed at any moment, the same call goes on with
    the shards that are missing (another call, with other molecules or options, starts
    its own); of a set that it has finished nothing is made again. The result does not
    depend on the number of workers.

    Parameters
    ----------
    path
        New folder, or that of the same call.
    smiles
        The molecules to draw from.
    n
        Conformers.
    options
        How they are made.
    seed
        Of the draw.
    workers
        Processes; with 1, this one.
    shard
        Conformers of a shard.

    Returns
    -------
    PackedDataset
        The set; ``group`` is the number of the SMILES.

    Raises
    ------
    FileExistsError
        If there is something else at the path already.
    ValueError
        If there are no molecules that can be used.
    """
    path = Path(path)
    if n < 1 or workers < 1:
        raise ValueError(f"n = {n}, workers = {workers}; at least 1 of each is needed")
    options = options or ConformerOptions()
    inputs = repr((tuple(smiles), options, seed, shard)).encode()
    digest = hashlib.sha256(inputs).hexdigest()[:16]
    meta = {"source": "random conformers", "seed": seed, "inputs": digest}
    if path.exists():
        return _finished(path, meta, n)
    shards = path.with_name(f".{path.name}.shards-{digest}")
    sizes = [min(shard, n - start) for start in range(0, n, shard)]
    missing = [
        (shards / f"{number:05d}-{size}", number, size)
        for number, size in enumerate(sizes)
        if not (shards / f"{number:05d}-{size}").exists()
    ]
    make = partial(_write_shard, tuple(smiles), options, seed)
    logger.info("%d of %d shards are missing", len(missing), len(sizes))
    with Workers(min(workers, max(len(missing), 1))) as team:
        for number, _ in enumerate(team.map(make, missing), 1):
            logger.info("%d of %d shards made", number, len(missing))
    written = (shards / f"{number:05d}-{size}" for number, size in enumerate(sizes))
    write_packed(path, _records(written), meta)
    shutil.rmtree(shards)
    return PackedDataset(path)


def _finished(path: Path, meta: dict[str, Any], n: int) -> PackedDataset:
    """Return the set at a path if the same call has made it."""
    if (path / "meta.json").is_file():
        dataset = PackedDataset(path)
        if len(dataset) == n and meta.items() <= dataset.meta.items():
            logger.info("%s is finished", path)
            return dataset
    raise FileExistsError(
        f"{path} exists already and is of another call; remove it or choose another"
    )


def _write_shard(
    smiles: tuple[str, ...],
    options: ConformerOptions,
    seed: int,
    job: tuple[Path, int, int],
) -> None:
    """Write one shard: a function of its number and size, and of the molecules."""
    path, number, size = job
    stream = random_conformers(smiles, options, [seed, number])
    write_packed(path, islice(stream, size))


def _records(shards: Iterator[Path]) -> Iterator[dict[str, Any]]:
    """Yield what was written to shards."""
    for path in shards:
        dataset = PackedDataset(path)
        for graph, group in zip(dataset, dataset.column("group")):
            yield {"z": graph["z"].numpy(), "pos": graph["pos"].numpy(), "group": group}
