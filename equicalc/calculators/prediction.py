"""Evaluate models on structures and put the answers into ASE's shape."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.stress import full_3x3_to_voigt_6_stress

from equicalc.calculators.members import Member
from equicalc.calculators.neighbors import Neighbors
from equicalc.calculators.structures import check_distances
from equicalc.graph import new_graph
from equicalc.models import evaluate

if TYPE_CHECKING:
    from torch_geometric.data import Data

#: Outputs with one row per atom; the others have one per structure.
PER_ATOM = ("energies", "forces", "charges", "embedding")


def graph_of(atoms: Atoms, neighbors: Neighbors) -> Data:
    """Return a structure and its neighbours as a graph with float64 positions.

    Raises
    ------
    CalculationFailed
        If two atoms overlap.
    """
    check_distances(atoms, neighbors.src, neighbors.dst, neighbors.distances)
    return new_graph(
        z=torch.from_numpy(atoms.numbers.astype(np.int64)),
        pos=torch.from_numpy(atoms.positions.astype(np.float64)),
        cell=torch.from_numpy(atoms.cell.array[None].astype(np.float64)),
        pbc=torch.from_numpy(atoms.pbc[None].copy()),
        edge_index=torch.from_numpy(np.array([neighbors.src, neighbors.dst])),
        edge_shift=torch.from_numpy(neighbors.shifts),
        batch=torch.zeros(len(atoms), dtype=torch.int64),
        ptr=torch.from_numpy(np.array([0, len(atoms)])),
    )


def outputs_for(atoms: Atoms, electric: Collection[str]) -> tuple[str, ...]:
    """Name what a model can say about a structure.

    Energies and forces always; the stress of a crystal; what is in `electric`: atomic
    charges and, of a molecule, the dipole moment (that of a crystal is not unique).
    """
    outputs = ("energy", "energies", "forces")
    if atoms.pbc.all():
        outputs += ("stress",)
    unique = [name for name in electric if name != "dipole" or not atoms.pbc.any()]
    return (*outputs, *unique)


def predict(
    member: Member, graph: Data, outputs: Collection[str]
) -> dict[str, np.ndarray]:
    """Evaluate one model on a batch; everything comes back as numpy arrays.

    Raises
    ------
    CalculationFailed
        If memory runs out or a result is not finite; it says how large the batch is.
    """
    device = member.device
    try:
        moved = graph if device.type == "cpu" else graph.to(str(device))
        out = evaluate(member.engine, moved, outputs)
        arrays = {name: value.cpu().double().numpy() for name, value in out.items()}
    except (MemoryError, RuntimeError) as error:  # of torch, too
        if not _is_about_memory(error):
            raise
        raise CalculationFailed(
            f"{_size(graph)} do not fit into the memory of {device}: use a smaller "
            "structure or batch_size, dtype='float32', or a device with more memory"
        ) from error
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise CalculationFailed(
                f"the {name} of {member.label} ({_size(graph)}) is not finite: the "
                "structure is far from anything the model can describe; look at its "
                "distances"
            )
    return arrays


def split(
    arrays: Mapping[str, np.ndarray], ptr: Sequence[int]
) -> Iterator[dict[str, np.ndarray]]:
    """Cut the results of a batch into those of its structures.

    Parameters
    ----------
    arrays : mapping
        Output to array, (n_atoms, ...) or (n_graphs, ...).
    ptr : sequence of int
        First atom of every structure, and the end.
    """
    for k, (start, stop) in enumerate(pairwise(ptr)):
        yield {
            name: value[start:stop] if name in PER_ATOM else value[k]
            for name, value in arrays.items()
        }


def average(
    predictions: Sequence[Mapping[str, np.ndarray]],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the mean of several models and how far they disagree.

    Returns
    -------
    mean, deviation : dict
        Output to array, and ``energy_std`` (), eV, and ``forces_std`` (n_atoms, 3),
        eV/Angstrom: the standard deviations over the models (of the sample, n - 1).
        The second is empty for a single model.
    """
    if len(predictions) == 1:
        return dict(predictions[0]), {}
    mean = {
        name: np.mean([p[name] for p in predictions], axis=0) for name in predictions[0]
    }
    deviation = {
        f"{name}_std": np.std([p[name] for p in predictions], axis=0, ddof=1)
        for name in ("energy", "forces")
        if name in mean
    }
    return mean, deviation


def ase_results(arrays: Mapping[str, np.ndarray]) -> dict[str, float | np.ndarray]:
    """Rename and reshape the results of one structure to ASE's conventions.

    ``free_energy`` is the energy; the stress becomes xx, yy, zz, yz, xz, xy.
    """
    results: dict[str, float | np.ndarray] = dict(arrays)
    if "energy" in arrays:
        results["energy"] = results["free_energy"] = float(arrays["energy"])
    if "stress" in arrays:
        results["stress"] = full_3x3_to_voigt_6_stress(arrays["stress"])
    return results


def _size(graph: Data) -> str:
    return (
        f"{len(graph['z'])} atoms and {graph['edge_index'].shape[1]} neighbour pairs "
        f"in {len(graph['ptr']) - 1} structures"
    )


def _is_about_memory(error: Exception) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True  # torch on a CPU says it in words only
    return any(w in str(error) for w in ("not enough memory", "can't allocate memory"))
