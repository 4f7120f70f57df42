"""Embeddings on disk: arrays by irrep, or a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equicalc.embedding.embedder import flat
from equicalc.embedding.features import Level

if TYPE_CHECKING:
    from ase import Atoms

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
    structures: Sequence[Atoms],
    *,
    level: Level = "atom",
    invariant: bool = False,
    names: Sequence[str] | None = None,
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
        What is embedded.
    level
        ``"atom"`` or ``"molecule"``.
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
        If the suffix is of another format.
    """
    path = Path(path)
    check_suffix(path)
    describe = embedder.invariants if invariant else embedder.embed
    arrays = describe(structures, level=level)
    labels = list(names or map(str, range(len(structures))))
    rows = _row_labels(structures, level)
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
