"""From the paths of a configuration to training, validation and test structures."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from equicalc.checkpoint import load_checkpoint
from equicalc.data.packed import PackedDataset
from equicalc.header import read_header
from equicalc.models import MODELS, Potential, evaluate
from equicalc.training.batches import in_order
from equicalc.training.config import DataConfig, TrainConfig
from equicalc.training.statistics import (
    composition,
    force_scale,
    reference_energies,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray


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


def open_source(path: str, properties: Collection[str] = ()) -> PackedDataset:
    """Open a packed data set, or convert any other file that can be read.

    Parameters
    ----------
    path
        `~` and variables are expanded.
    properties
        What to look for in the info of atoms, see `equicalc.data.open_dataset`.
    """
    source = expand_path(path)
    if (source / "meta.json").is_file():
        return PackedDataset(source)
    from equicalc.data.readers import open_dataset

    return open_dataset(source, properties=properties)


def load_parts(
    config: TrainConfig,
    labels: Collection[str] = (),
    properties: Collection[str] = (),
) -> dict[str, PackedDataset]:
    """Return the structures for `train`, `valid` and, if there are any, `test`.

    1. Files of their own where the configuration names them.
    2. Else shares of the training file, whole molecules together.
    3. Without structures above `max_force`; at most `n_train`, `n_valid`, `n_test`.

    Parameters
    ----------
    config
        The run.
    labels
        What all structures must have.
    properties
        As for `open_source`.

    Raises
    ------
    ValueError
        If a needed label is missing or no structure is left.
    """
    data = config.data
    # 1. files of their own
    parts = {
        name: open_source(path, properties)
        for name in ("train", "valid", "test")
        if (path := getattr(data, name))
    }
    # 2. shares of the training file
    if shares := shares_to_draw(data, parts):
        parts |= split(parts["train"], shares, config.seed)
    # 3. filters and limits
    for name, part in parts.items():
        part = _without_strong_forces(part, data.max_force)
        parts[name] = _limited(part, getattr(data, f"n_{name}"), config.seed)
        _check(parts[name], name, labels)
    return parts


def split(
    dataset: PackedDataset, shares: Mapping[str, float], seed: int
) -> dict[str, PackedDataset]:
    """Split at random by shares, whole molecules together.

    Frames of too few molecules to give every part one (a trajectory, say) are split
    frame by frame.

    Parameters
    ----------
    dataset
        The structures.
    shares
        Name to share; scaled to a sum of 1.
    seed
        Of the draw.
    """
    groups = np.unique(dataset.column("group")) if "group" in dataset.fields else ()
    if len(groups) > len(shares):
        return dict(dataset.split(_scaled(shares), seed))
    rows = split_rows(len(dataset), shares, seed)
    return {name: dataset.subset(np.sort(chosen)) for name, chosen in rows.items()}


def split_rows(
    n: int, shares: Mapping[str, float], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Split the numbers below n at random by shares, in no order.

    Examples
    --------
    >>> rows = split_rows(10, {"train": 0.4, "valid": 0.1}, seed=0)
    >>> {name: len(chosen) for name, chosen in rows.items()}
    {'train': 8, 'valid': 2}
    """
    order = np.random.default_rng(seed).permutation(n)
    ends = np.rint(np.cumsum([*_scaled(shares).values()]) * n).astype(int)
    return dict(zip(shares, np.split(order, ends[:-1])))


def shares_to_draw(data: DataConfig, own: Collection[str]) -> dict[str, float]:
    """Return shares of the training file; none if all parts have files of their own.

    Parameters
    ----------
    data
        Names the files and the shares.
    own
        Parts with a file.
    """
    shares = {
        name: share
        for name, share in data.fractions.items()
        if share > 0 and (name == "train" or name not in own)
    }
    return shares if shares.keys() - {"train"} else {}


def _scaled(shares: Mapping[str, float]) -> dict[str, float]:
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def model_settings(config: TrainConfig, dataset: PackedDataset) -> dict[str, Any]:
    """Return the model's whole configuration.

    As given; else as in the checkpoint to start from; else from the training set.
    Charges and dipole moments are predicted if a loss trains them.

    Parameters
    ----------
    config
        The run.
    dataset
        The training set, for elements, reference energies, energy scale and average
        number of neighbours where `config.model` does not give them.

    Raises
    ------
    ValueError
        If a loss needs what the model does not predict, or the checkpoint lacks an
        element.
    """
    kind = MODELS[config.task][0]
    given = {"dipole": config.loss.electric} | initial_shape(config) | config.model
    _check_heads(config, given["dipole"])
    z, n_atoms = dataset.column("z"), dataset.column("n_atoms")
    ptr = np.concatenate([[0], np.cumsum(n_atoms, dtype=np.int64)])
    elements = np.array(given.get("elements") or np.unique(z), dtype=np.int64)
    if config.init is not None:
        _check_known(config, elements, z)
    counts = composition(z, ptr, elements)
    fields: dict[str, Any] = {"elements": tuple(elements.tolist())} | given
    if "reference_energies" not in fields:
        energies = fitted_references(config, dataset, counts, elements)
        fields["reference_energies"] = tuple(energies.tolist())
    if "energy_scale" not in fields and "forces" in dataset.fields:
        fields["energy_scale"] = force_scale(dataset.column("forces"))
    if "avg_neighbors" not in fields:
        cutoff = kind(**fields).cutoff
        fields["avg_neighbors"] = average_neighbors(dataset, cutoff, config.seed)
    return dataclasses.asdict(kind(**fields))


def fitted_references(
    config: TrainConfig,
    dataset: PackedDataset,
    counts: NDArray[np.int64],
    elements: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the energy of an atom alone, for every element, (n_elements,), eV.

    See `equicalc.training.statistics.reference_energies`. A run that starts from a
    checkpoint has its network's energies subtracted first, and what is fitted is the
    change of its references: those that the structures do not determine stay. Isolated
    atoms count as they are given, for the network adds nothing to an atom alone.

    Parameters
    ----------
    config
        The run.
    dataset
        The training set.
    counts : (n_structures, n_elements)
        See `equicalc.training.statistics.composition`.
    elements : (n_elements,)
        Atomic numbers, sorted; those of the checkpoint, if there is one.
    """
    isolated = _isolated_energies(config.data)
    energies = dataset.column("energy")
    if config.init is None:
        return reference_energies(counts, energies, elements, isolated)
    model, _ = load_checkpoint(expand_path(config.init), backend=config.trainer.backend)
    network = cast(Potential, model)
    before = dict(zip(elements.tolist(), network.references().tolist()))
    rows = _with_every_element(counts, config.seed)
    rest = energies[rows] - _predicted(network, dataset.subset(rows))
    known = {
        number: energy - before[number]
        for number, energy in (isolated or {}).items()
        if number in before
    }
    change = reference_energies(counts[rows], rest, elements, known)
    return np.array([*before.values()]) + change


def _with_every_element(
    counts: NDArray[np.int64], seed: int, n: int = 1000, least: int = 50
) -> NDArray[np.int64]:
    """Draw structures: `n`, and if there are as many `least` of every element.

    One-atom structures are all taken.
    """
    order = np.random.default_rng(seed).permutation(len(counts))
    chosen = [order[:n], np.flatnonzero(counts.sum(1) == 1)]
    chosen += [order[column[order] > 0][:least] for column in counts.T]
    return np.unique(np.concatenate(chosen))


def _predicted(network: Potential, dataset: PackedDataset) -> NDArray[np.float64]:
    """Return the network's energies of structures, (n_structures,), eV."""
    batches = (
        dataset.batch(indices, network.cutoff) for indices in in_order(len(dataset), 64)
    )
    found = [evaluate(network, batch, ("energy",))["energy"] for batch in batches]
    return torch.cat(found).numpy()


def _check_heads(config: TrainConfig, dipole: bool) -> None:
    if config.loss.electric and not dipole:
        where = "model.dipole is false"
        if "dipole" not in config.model:
            where = f"init: {config.init} predicts neither"
        raise ValueError(
            f"loss.dipole or loss.charges > 0, but {where}: set both to 0, or train a "
            "model with model.dipole: true, without init"
        )


def _check_known(
    config: TrainConfig, elements: NDArray[np.int64], z: NDArray[np.uint8]
) -> None:
    known = initial_shape(config)["elements"]
    if elements.tolist() != list(known):
        raise ValueError(
            f"init: {config.init} knows the elements {known}, but model.elements are "
            f"{elements.tolist()}: leave these out"
        )
    if len(unknown := np.setdiff1d(z, known)):
        raise ValueError(
            f"init: {config.init} knows the elements {known}, but the data hold "
            f"{unknown.tolist()} too: leave those structures out, or train without init"
        )


def initial_shape(config: TrainConfig) -> dict[str, Any]:
    """Return the shape of the checkpoint to start from, without reference energies."""
    if config.init is None:
        return {}
    model = read_header(expand_path(config.init))["model"]
    if model["name"] != config.task:
        raise ValueError(
            f"init: {config.init} holds a {model['name']}, but the task is "
            f"{config.task}"
        )
    shape = model["config"]
    return {key: shape[key] for key in shape if key != "reference_energies"}


def _limited(dataset: PackedDataset, n: int | None, seed: int) -> PackedDataset:
    if n is None or n >= len(dataset):
        return dataset
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:n]
    return dataset.subset(np.sort(chosen))


def _without_strong_forces(
    dataset: PackedDataset, limit: float | None
) -> PackedDataset:
    if limit is None or "forces" not in dataset.fields or not len(dataset):
        return dataset
    strength = np.linalg.norm(dataset.column("forces"), axis=1)  # (n_atoms,)
    n_atoms = dataset.column("n_atoms")
    first = np.cumsum(n_atoms, dtype=np.int64) - n_atoms
    strongest = np.maximum.reduceat(strength, first)  # (n_structures,)
    return dataset.subset(np.flatnonzero(strongest <= limit))


def _check(dataset: PackedDataset, name: str, labels: Collection[str]) -> None:
    if not len(dataset):
        raise ValueError(
            f"data.{name}: no structure is left; check the fractions, n_{name} and "
            "max_force"
        )
    for term in labels:
        if term not in dataset.fields:
            raise ValueError(
                f"loss.{term} > 0, but the data for {name!r} has no {term} (it has "
                f"{', '.join(dataset.fields)}); set loss.{term}: 0"
            )


def average_neighbors(dataset: PackedDataset, cutoff: float, seed: int) -> float:
    """Return the mean number of edges of an atom, from a sample, at least 1."""
    sample = _limited(dataset, 1000, seed)
    edges = sum(
        sample.batch(indices, cutoff).num_edges
        for indices in in_order(len(sample), 100)
    )
    return max(edges / int(sample.column("n_atoms").sum()), 1.0)


def _isolated_energies(data: DataConfig) -> dict[int, float] | None:
    if data.isolated_atoms is None:
        return None
    dataset = open_source(data.isolated_atoms)
    if (dataset.column("n_atoms") != 1).any():
        raise ValueError(
            f"isolated_atoms: {data.isolated_atoms} holds structures of several atoms"
        )
    return {
        int(number): float(energy)
        for number, energy in zip(dataset.column("z"), dataset.column("energy"))
    }
