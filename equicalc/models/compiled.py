"""Energies and forces of a potential as one compiled program, for training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from equicalc.kernels.convolution import Adjacency
from equicalc.models.potential import Potential

if TYPE_CHECKING:
    from torch.fx import GraphModule
    from torch_geometric.data import Data

#: Sizes of the traced batch, all different: structures, atoms, edges.
TRACED = (5, 37, 211)


class EnergyAndGradient(nn.Module):
    """A potential and the derivative of its energy, as a function of tensors alone.

    Parameters
    ----------
    model : Potential
        The potential.
    """

    def __init__(self, model: Potential) -> None:
        super().__init__()
        self.model = model

    def inputs(self, graph: Data, vectors: Tensor) -> list[Tensor]:
        """Return the tensors that `forward` takes."""
        species = self.model.species(graph["z"])
        n_nodes = len(species) + len(self.model.elements)
        adj = Adjacency.from_edges(*graph["edge_index"], n_nodes)
        short = vectors.to(self.model.embedding.dtype)
        ends = graph["edge_index"], graph["batch"], graph["ptr"]
        return [short, species, *ends, *adj.tensors()]

    def forward(
        self,
        vectors: Tensor,
        species: Tensor,
        edge_index: Tensor,
        batch: Tensor,
        ptr: Tensor,
        *adjacency: Tensor,
    ) -> dict[str, Tensor]:
        """Return what `Potential.forward` does, and ``gradient`` (n_edges, 3)."""
        vectors = vectors.detach().requires_grad_()
        graph = {"edge_index": edge_index, "batch": batch, "ptr": ptr}
        out = self.model.outputs(graph, vectors, species, Adjacency(*adjacency))
        [gradient] = torch.autograd.grad(
            out["energies"].sum(), vectors, create_graph=True
        )
        return {**out, "gradient": gradient}


class CompiledForces:
    """A potential whose energy and forces run as one program; see `compile_forces`.

    `equicalc.models.evaluate` takes it in place of the potential, with which it shares
    the weights.

    Parameters
    ----------
    model : Potential
        The potential.
    backend : str
        Of `torch.compile`.
    """

    trainable = True

    def __init__(self, model: Potential, backend: str) -> None:
        self.model = model
        self._eager = EnergyAndGradient(model)
        self._compiled = torch.compile(
            trace(self._eager), backend=backend, dynamic=True
        )

    def __call__(
        self, graph: Data, vectors: Tensor | None = None
    ) -> Mapping[str, Tensor]:
        """Evaluate the potential itself."""
        return self.model(graph, vectors)

    def with_gradient(
        self, graph: Data, vectors: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Evaluate a batch and differentiate its energy by the edge vectors.

        Returns
        -------
        out : dict
            What `Potential.forward` returns.
        gradient : Tensor
            (n_edges, 3), eV/Angstrom. Both can be differentiated by the weights.
        """
        inputs = self._eager.inputs(graph, vectors)
        if min(map(len, inputs)) < 2:  # a program of its own would be compiled
            out = self._eager(*inputs)
        else:
            out = self._compiled(list(self._eager.parameters()), inputs)
        return out, out.pop("gradient").to(vectors.dtype)


def compile_forces(model: Potential, backend: str = "inductor") -> CompiledForces:
    """Compile energy, forces and their derivatives by the weights, for training.

    `torch.compile` cannot differentiate twice. So the forces are traced into the
    program first, and the program, which has to be differentiated once, is compiled.
    It holds for any number of structures, atoms and edges. Tracing takes seconds,
    compiling, at the first batch, minutes.

    Parameters
    ----------
    model : Potential
        On its device and in its precision, which must not change afterwards; its
        weights may.
    backend : str
        Of `torch.compile`; ``"aot_eager"`` compiles nothing, to look for errors.

    Returns
    -------
    CompiledForces
        To be given to `equicalc.models.evaluate`.

    Raises
    ------
    TypeError
        If the model is not a `Potential`.
    """
    if type(model) is not Potential:
        raise TypeError(
            f"only a Potential can be compiled, {type(model).__name__} cannot: train "
            "it as it is"
        )
    return CompiledForces(model, backend)


def trace(module: EnergyAndGradient) -> GraphModule:
    """Write a module down as a function of (weights, inputs), for any sizes."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import (
        DimDynamic,
        ShapeEnv,
        StatelessSymbolicContext,
    )

    inputs = example_inputs(module.model)
    module(*inputs)  # our own kernels are generated and compiled now
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    names, weights = zip(*module.named_parameters(), strict=True)
    fake_weights = [mode.from_tensor(w, static_shapes=True) for w in weights]
    fake_inputs = []
    for tensor in inputs:
        sizes = [
            DimDynamic.STATIC if n < 4 else DimDynamic.DYNAMIC for n in tensor.shape
        ]
        context = StatelessSymbolicContext(dynamic_sizes=sizes)
        fake_inputs.append(mode.from_tensor(tensor, symbolic_context=context))

    def function(weights: list[Tensor], inputs: list[Tensor]) -> dict[str, Tensor]:
        state = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(module, state, tuple(inputs))

    with mode:
        program = make_fx(function)(fake_weights, fake_inputs)
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.detach.default:
            # it would hide derivatives of the forces by the weights
            node.replace_all_uses_with(node.args[0])
    program.graph.eliminate_dead_code()
    program.recompile()
    return program


def example_inputs(model: Potential) -> list[Tensor]:
    """Make up inputs of `EnergyAndGradient` of which only the shapes matter."""
    n_graphs, n_atoms, n_edges = TRACED
    n_nodes = n_atoms + len(model.elements)
    weight = model.embedding
    sizes = (n_atoms, (2, n_edges), n_atoms, n_graphs + 1)
    ends = (n_edges, n_edges, n_nodes + 1, n_edges, n_nodes + 1)
    indices = [
        torch.zeros(size, dtype=torch.int64, device=weight.device)
        for size in (*sizes, *ends)
    ]
    return [weight.new_ones(n_edges, 3), *indices]
