"""From a model and a batch to energies, forces, stress and the rest: no ASE here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor

from equicalc.graph import edge_vectors

if TYPE_CHECKING:
    from torch_geometric.data import Data

#: Everything `evaluate` can be asked for.
OUTPUTS = (
    "energy",
    "energies",
    "forces",
    "stress",
    "dipole",
    "charges",
    "embedding",
    "hessian",
)


class Evaluates(Protocol):
    """Any function of a graph and its edge vectors."""

    def __call__(self, graph: Data, vectors: Tensor, /) -> Mapping[str, Tensor]:
        """Return ``energies`` of the atoms and what else there is."""
        ...


class HasGradient(Evaluates, Protocol):
    """A model that differentiates its energy by itself, faster than autograd.

    Attributes
    ----------
    trainable : bool
        Whether what `with_gradient` returns can be differentiated by the weights. By
        the edge vectors it never can.
    """

    trainable: bool

    def with_gradient(
        self, graph: Data, vectors: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the model's outputs and dE/d(vectors), (n_edges, 3)."""
        ...


def evaluate(
    model: Evaluates,
    graph: Data,
    outputs: Collection[str] = ("energy", "forces"),
    create_graph: bool = False,
) -> dict[str, Tensor]:
    r"""Run one forward pass and, where derivatives are asked for, one backward pass.

    Forces and stress both come from the derivative with respect to the edge vectors
    :math:`r_{ij} = r_j - r_i`, :math:`g_{ij} = \partial E / \partial r_{ij}`:

    1. :math:`F_k = \sum_{i=k} g_{ij} - \sum_{j=k} g_{ij}`
    2. :math:`\sigma = \frac{1}{V} \sum_{ij} r_{ij} \otimes g_{ij}`, symmetrised.

    Parameters
    ----------
    model : nn.Module or callable
        A model of `equicalc.models`, or any function ``model(graph, vectors)`` that
        returns ``energies`` of the atoms and what else it predicts, differentiable by
        the vectors. One that has the methods of `HasGradient` differentiates itself.
    graph : Data
        See `equicalc.graph`.
    outputs : collection of str
        Out of `OUTPUTS`.
    create_graph : bool
        Keep the results differentiable, for training on forces.

    Returns
    -------
    dict
        ``energy`` (n_graphs,) and ``energies`` (n_atoms,), float64, eV; ``forces``
        (n_atoms, 3), eV/Angstrom; ``stress`` (n_graphs, 3, 3), eV/Angstrom^3, only
        for structures with a cell; ``dipole`` (n_graphs, 3), e Angstrom; ``charges``
        (n_atoms,), e; ``embedding`` (n_atoms, channels); ``hessian``
        (3 n_atoms, 3 n_atoms), eV/Angstrom^2, of a single structure.

    Raises
    ------
    ValueError
        For an unknown output, one that the model does not predict, a stress without
        a cell, or a Hessian of several structures.
    RuntimeError
        For derivatives of a graph that was made in `torch.inference_mode`.
    """
    if unknown := set(outputs) - set(OUTPUTS):
        raise ValueError(f"unknown outputs {sorted(unknown)}; choose from {OUTPUTS}")
    n_graphs = len(graph["ptr"]) - 1
    if "hessian" in outputs and n_graphs != 1:
        raise ValueError(f"a Hessian is for one structure, the batch holds {n_graphs}")
    if "hessian" in outputs:
        graph = graph.clone().update({"pos": graph["pos"].detach().requires_grad_()})
    derivatives = not {"forces", "stress", "hessian"}.isdisjoint(outputs)
    create_graph = create_graph or "hessian" in outputs
    frozen = torch.is_inference_mode_enabled() or graph["pos"].is_inference()
    if derivatives and frozen:
        raise RuntimeError(
            "torch.inference_mode() forbids derivatives, so there would be no forces: "
            "make the graph and evaluate it under torch.no_grad() instead"
        )

    with torch.set_grad_enabled(derivatives or create_graph):
        vectors = edge_vectors(graph)
        if derivatives:
            out, gradient = _with_gradient(model, graph, vectors, create_graph)
        else:
            out, gradient = dict(model(graph, vectors)), None
        energies = out["energies"]
        empty = energies.new_zeros(n_graphs)
        out["energy"] = empty.index_add_(0, graph["batch"], energies)
        if gradient is not None:
            out["forces"] = _forces(gradient, graph)
            if "stress" in outputs:
                out["stress"] = _stress(gradient, vectors, graph)
    if "hessian" in outputs:
        out["hessian"] = _hessian(out["forces"], graph["pos"])
    if missing := set(outputs) - out.keys():
        raise ValueError(
            f"this model does not predict {sorted(missing)}; it has {sorted(out)}"
        )
    found = {name: out[name] for name in outputs}
    return found if create_graph else {k: v.detach() for k, v in found.items()}


def _with_gradient(
    model: Evaluates, graph: Data, vectors: Tensor, create_graph: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """Evaluate, and differentiate the summed energy by every edge vector."""
    itself = cast("HasGradient", model) if hasattr(model, "with_gradient") else None
    if (
        itself is not None
        and not vectors.requires_grad
        and (itself.trainable or not create_graph)
    ):
        return itself.with_gradient(graph, vectors)
    if not vectors.requires_grad:
        vectors.requires_grad_()
    out = dict(model(graph, vectors))
    energy = out["energies"].sum()
    if not energy.requires_grad:  # no edges reach the energy
        return out, torch.zeros_like(vectors)
    [gradient] = torch.autograd.grad(
        energy, vectors, create_graph=create_graph, materialize_grads=True
    )
    return out, gradient


def _forces(gradient: Tensor, graph: Data) -> Tensor:
    src, dst = graph["edge_index"]
    forces = gradient.new_zeros(graph["pos"].shape)
    return forces.index_add_(0, dst, gradient).index_add_(0, src, gradient, alpha=-1)


def _stress(gradient: Tensor, vectors: Tensor, graph: Data) -> Tensor:
    volume = torch.linalg.det(graph["cell"]).abs()  # (n_graphs,)
    if not (volume > 0).all():
        raise ValueError(
            "a stress needs three lattice vectors that span a volume; structures "
            f"{torch.nonzero(volume <= 0).flatten().tolist()} have none"
        )
    edge_graph = graph["batch"][graph["edge_index"][1]]
    outer = vectors.unsqueeze(2) * gradient.unsqueeze(1)  # (n_edges, 3, 3)
    virial = outer.new_zeros(len(volume), 3, 3).index_add(0, edge_graph, outer)
    return 0.5 * (virial + virial.mT) / volume.to(virial.dtype)[:, None, None]


def _hessian(forces: Tensor, pos: Tensor) -> Tensor:
    """Differentiate the forces row by row and symmetrise."""
    rows = [
        torch.autograd.grad(-f, pos, retain_graph=True, materialize_grads=True)[0]
        for f in forces.flatten()
    ]
    hessian = torch.stack(rows).flatten(1)  # (3 n_atoms, 3 n_atoms)
    return 0.5 * (hessian + hessian.mT)
