"""Embeddings on disk: arrays by irrep, or a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from equicalc.calculators.structures import list_of_atoms
from equicalc.embedding.embedder import flat
from equicalc.embedding.features import Level

if TYPE_CHECKING:
    from equicalc.embedding.embedder import Embedder

SUFFIXES = (".npz", ".csv")


def check_suffix(path: Path) -> None:
    """Refuse a file of another format.

    Raises
    ------
    ValueError
        If the suffix is neither ``.npz`` nor ``.csv``.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: give a file that ends in {' or '.join(SUFFIXES)}")


def write_embedding(
    path: str | Path,
    embedder: Embedder,
    structures: Atoms | Iterable[Atoms],
    *,
    level: Level | None = None,
    invariant: bool = False,
    names: Iterable[str] | None = None,
) -> Path:
    """Embed structures and write the result.

    An ``.npz`` holds an array for every irrep, (n, channels, 2l+1) or of invariants
    (n, channels), and what the rows are: ``structure``, the place in the list, and at
    the level of atoms ``atom`` and ``number`` (atomic); ``name`` by structure;
    ``irreps``, the order in which they make a flat array. A ``.csv`` holds the same
    as a table, one column for every feature.

    Parameters
    ----------
    path
        Where to; the suffix decides.
    embedder
        What embeds.
    structures
        One structure or many.
    level
        ``"atom"`` or ``"molecule"``; as for `Embedder.embed` if omitted.
    invariant
        Write the invariants instead of the features.
    names
        Of the structures; their places in the list by default.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If the suffix is of another format, or there are more or fewer names than
        structures.
    """
    path = Path(path)
    check_suffix(path)
    alone = isinstance(structures, Atoms)
    listed = list_of_atoms([structures] if alone else structures)
    labels = _labels(names, len(listed))
    level = embedder.checked_level(level)
    describe = embedder.invariants if invariant else embedder.embed
    arrays = describe(listed, level=level)
    rows = _row_labels(listed, level)
    if path.suffix == ".npz":
        settings = {"level": level, "invariant": invariant, "pooling": embedder.pooling}
        extra: dict[str, Any] = {
            **rows,
            "name": np.array(labels),
            "irreps": np.array(str(embedder.irreps)),
            "settings": np.array(json.dumps(settings)),
        }
        np.savez_compressed(path, **arrays, **extra)
        return path
    header = ["name", *rows, *embedder.feature_names(invariant)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for k, features in enumerate(flat(arrays)):
            place = [int(column[k]) for column in rows.values()]
            writer.writerow([labels[place[0]], *place, *map(float, features)])
    return path


def _labels(names: Iterable[str] | None, n: int) -> list[str]:
    """Names of n structures; their places without any."""
    if names is None:
        return [str(k) for k in range(n)]
    labels = [names] if isinstance(names, str) else [str(name) for name in names]
    if len(labels) != n:
        raise ValueError(f"{len(labels)} names for {n} structures: give one for each")
    return labels


def _row_labels(structures: Sequence[Atoms], level: Level) -> dict[str, np.ndarray]:
    """Columns that tell what the rows of an embedding are."""
    if level == "molecule":
        return {"structure": np.arange(len(structures))}
    sizes = [len(atoms) for atoms in structures]
    return {
        "structure": np.repeat(np.arange(len(structures)), sizes),
        "atom": np.fromiter(chain.from_iterable(map(range, sizes)), int),
        "number": np.concatenate([atoms.numbers for atoms in structures]),
    }
