"""What a network says of structures, as labels that a smaller one learns from."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from equicalc.data.packed import FIELDS, PackedDataset
from equicalc.data.packing import write_packed
from equicalc.models import AnalyticPotential, Potential, PropertyNetwork, evaluate
from equicalc.training.batches import in_order
from equicalc.training.property_errors import column

if TYPE_CHECKING:
    from torch_geometric.data import Data

logger = logging.getLogger(__name__)

#: What can be asked about structures one by one.
Teacher = Potential | PropertyNetwork

#: From a batch to labels, under the names of packed data sets.
Answer = Callable[["Data"], dict[str, Tensor]]


def needed_labels(model: Teacher) -> tuple[str, ...]:
    """Return what structures must have for the network to be trained on them.

    Raises
    ------
    ValueError
        If it was trained on noise.
    """
    if isinstance(model, PropertyNetwork):
        if model.config.kind == "atom vector":
            raise ValueError(
                "a network that was trained on noise is there to begin another run "
                "with: name what that run leads to"
            )
        return tuple(column(target) for target in model.config.targets)
    return ("energy",)


def answering(model: Teacher) -> Answer:
    """Return a function of batches that tells all that a network predicts."""
    if isinstance(model, PropertyNetwork):
        return partial(_properties, model)
    engine = AnalyticPotential.build(model) or model
    electric = ("dipole", "charges") if model.config.dipole else ()
    return partial(evaluate, engine, outputs=("energy", "forces", *electric))


@torch.no_grad()
def _properties(model: PropertyNetwork, graph: Data) -> dict[str, Tensor]:
    return dict(zip(needed_labels(model), model(graph)["values"].unbind(-1)))


def labelled(model: Teacher, digest: str, dataset: PackedDataset, folder: Path) -> Path:
    """Write structures with the labels that a network gives them.

    Labels of an earlier call stay if they are those of this network and data.

    Parameters
    ----------
    model
        The network.
    digest
        Tells it from others.
    dataset
        The structures.
    folder
        Gets the packed data set, ``labels``.
    """
    path = folder / "labels"
    origin = {"source": str(dataset.path.resolve()), "network": digest}
    if path.exists() and origin.items() <= PackedDataset(path).meta.items():
        return path
    shutil.rmtree(path, ignore_errors=True)
    missing = ", ".join(sorted(set(needed_labels(model)) - set(dataset.fields)))
    logger.info("no %s in %s: the network labels it", missing, dataset.name)
    note = {"labels": "of the whole network", **origin}
    write_packed(path, _records(model, dataset), note)
    return path


def _records(model: Teacher, dataset: PackedDataset) -> Iterator[dict[str, Any]]:
    answer = answering(model)
    for indices in in_order(len(dataset), 64):
        graph = dataset.batch(indices, model.cutoff)
        found = answer(graph)
        for k, (start, stop) in enumerate(zip(graph["ptr"][:-1], graph["ptr"][1:])):
            atoms = slice(int(start), int(stop))
            record = {"z": graph["z"][atoms].numpy(), "pos": graph["pos"][atoms]}
            if graph["pbc"][k].any():
                record |= {"cell": graph["cell"][k], "pbc": graph["pbc"][k]}
            for name, value in found.items():
                record[name] = value[atoms if FIELDS[name].per_atom else k]
            yield {name: np.asarray(value) for name, value in record.items()}
