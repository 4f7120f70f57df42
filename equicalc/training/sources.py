"""From the paths of a configuration to training, validation and test structures."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from equicalc.data.packed import PackedDataset
from equicalc.training.batches import in_order
from equicalc.training.config import DataConfig, TrainConfig
from equicalc.training.statistics import (
    composition,
    force_scale,
    reference_energies,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Part:
    """Some structures of a packed data set.

    Attributes
    ----------
    dataset
        The set.
    indices : (n,)
        The structures, sorted.
    """

    dataset: PackedDataset
    indices: np.ndarray

    @classmethod
    def of(cls, dataset: PackedDataset) -> Part:
        """Return all structures of a data set."""
        return cls(dataset, np.arange(len(dataset)))

    def __len__(self) -> int:
        return len(self.indices)


def expand_path(path: str) -> Path:
    """Replace `~` and environment variables in a path.

    Raises
    ------
    ValueError
        If a variable is not set.

    Examples
    --------
    >>> expand_path("/data/set").name
    'set'
    """
    expanded = Path(os.path.expandvars(path)).expanduser()
    if missing := re.findall(r"\$\{?(\w+)", str(expanded)):
        raise ValueError(
            f"path {path!r}: the environment variable {missing[0]} is not set; "
            f"run with {missing[0]}=/the/folder in front, or write the path out"
        )
    return expanded


def open_source(path: str) -> PackedDataset:
    """Open a packed data set, or convert any other file that can be read."""
    source = expand_path(path)
    if (source / "meta.json").is_file():
        return PackedDataset(source)
    from equicalc.data.readers import open_dataset

    return open_dataset(source)


def load_parts(config: TrainConfig) -> dict[str, Part]:
    """Return the structures for `train`, `valid` and, if there are any, `test`.

    1. Files of their own where the configuration names them.
    2. Else shares of the training file, whole molecules together.
    3. Without structures above `max_force`; at most `n_train`, `n_valid`, `n_test`.

    Raises
    ------
    ValueError
        If a needed label is missing or no structure is left.
    """
    data = config.data
    parts = {"train": Part.of(open_source(data.train))}
    # 1. files of their own
    for name in ("valid", "test"):
        if path := getattr(data, name):
            parts[name] = Part.of(open_source(path))
    # 2. shares of the training file
    shares = {n: s for n, s in data.fractions.items() if n == "train" or n not in parts}
    if shares.keys() - {"train"}:
        parts |= split(parts["train"], shares, config.seed)
    # 3. filters and limits
    for name, part in parts.items():
        part = _without_strong_forces(part, data.max_force)
        parts[name] = _limited(part, getattr(data, f"n_{name}"), config.seed)
        _check(parts[name], name, config)
    return {name: part for name, part in parts.items() if len(part)}


def split(part: Part, shares: Mapping[str, float], seed: int) -> dict[str, Part]:
    """Split at random by shares, whole molecules together where there are several.

    Parameters
    ----------
    part
        The structures.
    shares
        Name to share; normalised to a sum of 1.
    seed
        Of the draw.
    """
    n = len(part)
    groups = np.arange(n)
    if "group" in part.dataset.fields:
        _, ids = np.unique(values(part, "group"), return_inverse=True)
        groups = ids if ids.max(initial=0) >= len(shares) else groups
    n_groups = int(groups.max(initial=-1)) + 1
    order = np.random.default_rng(seed).permutation(n_groups)
    bounds = np.cumsum([*shares.values()]) / sum(shares.values()) * n_groups
    owner = np.empty(n_groups, dtype=np.int64)  # (n_groups,) which part
    owner[order] = np.searchsorted(np.round(bounds), np.arange(n_groups), side="right")
    owner = owner[groups]  # (n,)
    return {
        name: Part(part.dataset, part.indices[owner == number])
        for number, name in enumerate(shares)
    }


def values(part: Part, name: str) -> np.ndarray:
    """Return a field of the structures (n, ...) or of all their atoms (n_atoms, ...)."""
    return part.dataset.field(name, part.indices)


def derived_fields(config: TrainConfig, part: Part, cutoff: float) -> dict[str, object]:
    """Return the fields of a model's configuration that the training set decides.

    Parameters
    ----------
    config
        The run; what its `model` already gives is not computed.
    part
        The training set.
    cutoff
        Of the model, Angstrom.
    """
    z, n_atoms = values(part, "z"), values(part, "n_atoms")
    ptr = np.concatenate([[0], np.cumsum(n_atoms, dtype=np.int64)])
    isolated = _isolated_energies(config.data)
    elements = np.array(config.model.get("elements") or np.unique(z), dtype=np.int64)
    counts = composition(z, ptr, elements)
    energies = values(part, "energy")
    references = reference_energies(counts, energies, elements, isolated)
    fields: dict[str, object] = {
        "elements": tuple(int(number) for number in elements),
        "reference_energies": tuple(float(energy) for energy in references),
        "avg_neighbors": _average_neighbors(part, cutoff, config.seed),
    }
    if "forces" in part.dataset.fields:
        fields["energy_scale"] = force_scale(values(part, "forces"))
    return fields | config.model


def _limited(part: Part, n: int | None, seed: int) -> Part:
    if n is None or n >= len(part):
        return part
    chosen = np.random.default_rng(seed).permutation(len(part))[:n]
    return Part(part.dataset, np.sort(part.indices[chosen]))


def _without_strong_forces(part: Part, limit: float | None) -> Part:
    if limit is None or "forces" not in part.dataset.fields or not len(part):
        return part
    strength = np.linalg.norm(values(part, "forces"), axis=1)  # (n_atoms,)
    n_atoms = values(part, "n_atoms")
    starts = np.cumsum(n_atoms, dtype=np.int64) - n_atoms
    strongest = np.maximum.reduceat(strength, starts)  # (n_structures,)
    return Part(part.dataset, part.indices[strongest <= limit])


def _check(part: Part, name: str, config: TrainConfig) -> None:
    if not len(part) and name != "test":
        raise ValueError(
            f"data.{name}: no structure is left; check the fractions, n_{name} and "
            "max_force"
        )
    for term in config.loss.weights():
        if term not in part.dataset.fields:
            raise ValueError(
                f"loss.{term} > 0, but the data for {name!r} has no {term} (it has "
                f"{', '.join(part.dataset.fields)}); set loss.{term}: 0"
            )


def _average_neighbors(part: Part, cutoff: float, seed: int) -> float:
    """Mean number of edges per atom, from a sample."""
    sample = _limited(part, 1000, seed)
    edges = atoms = 0
    for indices in in_order(sample.indices, 100):
        batch = sample.dataset.batch(indices, cutoff)
        edges += batch.edge_index.shape[1]
        atoms += len(batch.z)
    return max(edges / atoms, 1.0)


def _isolated_energies(data: DataConfig) -> dict[int, float] | None:
    if data.isolated_atoms is None:
        return None
    part = Part.of(open_source(data.isolated_atoms))
    if (values(part, "n_atoms") != 1).any():
        raise ValueError(
            f"isolated_atoms: {data.isolated_atoms} holds structures of several atoms"
        )
    return {int(z): float(e) for z, e in zip(values(part, "z"), values(part, "energy"))}
