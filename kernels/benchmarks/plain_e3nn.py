"""The default potential's network in plain e3nn, with the same weights.

What someone would write without this package: e3nn's spherical harmonics, linear maps
and tensor products, messages stored for every edge, sums by `index_add`. Features are
in e3nn's layout throughout. It counts as the same network once `check_twin` passed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from equicalc import o3
from equicalc.graph import edge_vectors
from equicalc.models import Potential, PotentialConfig, evaluate
from equicalc.nn.gate import bounded

from .peers import natural, uvu_product
from .timing import check_close

TOLERANCE = 1e-4  # float32, relative to the largest value


class PlainLayer(nn.Module):
    """`equicalc.models.potential.InteractionLayer` in e3nn."""

    def __init__(
        self, config: PotentialConfig, ls_in: Sequence[int], ls_out: Sequence[int]
    ) -> None:
        super().__init__()
        C = config.channels
        self.channels, self.ls_in, self.ls_out = C, ls_in, ls_out
        self.kept = [l for l in ls_out if l in ls_in]
        self.scale = config.avg_neighbors**-0.5
        self.product = uvu_product(ls_in, config.ls, ls_out, C)
        widths = [config.n_radial, *config.radial_hidden, self.product.weight_numel]
        self.radial = nn.ParameterList(torch.zeros(a, b) for a, b in pairwise(widths))
        self.before = o3.Linear(natural(ls_in, C), natural(ls_in, C))
        mid = cast(o3.Irreps, self.product.irreps_out).simplify()
        out = natural(ls_out, C)
        self.after = o3.Linear(mid, out)
        self.own = o3.Linear(natural(self.kept, C), out)
        shape = (len(config.elements), len(self.kept), C)
        self.species_scale = nn.Parameter(torch.zeros(shape))
        n = len(ls_out) * C
        self.hidden, self.gates = nn.Linear(n, n), nn.Linear(n, n)

    def forward(
        self, h: Tensor, species: Tensor, edges: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Update features (n_nodes, irreps dim) along senders and receivers."""
        src, dst, harmonics, basis = edges
        for weight in self.radial[:-1]:
            basis = nn.functional.silu(basis @ weight)
        messages = self.product(
            self.before(h)[src], harmonics, basis @ self.radial[-1]
        )  # (n_edges, dim)
        summed = messages.new_zeros(len(h), messages.shape[1])
        new = self.after(summed.index_add(0, dst, messages) * self.scale)
        blocks = dict(zip(self.ls_in, self._blocks(h, self.ls_in), strict=True))
        scale = self.species_scale[species].unsqueeze(3)  # (n_nodes, kept, C, 1)
        own = [blocks[l] * scale[:, k] for k, l in enumerate(self.kept)]
        new = new + self.own(torch.cat([x.flatten(1) for x in own], 1))
        return self._gate(new)

    def _blocks(self, h: Tensor, ls: Sequence[int]) -> list[Tensor]:
        """One tensor (n_nodes, channels, 2l+1) for every degree."""
        blocks = h.split([self.channels * (2 * l + 1) for l in ls], 1)
        return [x.unflatten(1, (self.channels, -1)) for x in blocks]

    def _gate(self, h: Tensor) -> Tensor:
        scalars, *tensors = self._blocks(h, self.ls_out)
        norms = [x.square().mean(2) for x in tensors]
        mixed = self.hidden(bounded(torch.cat([scalars.squeeze(2), *norms], 1)))
        new, *gates = self.gates(nn.functional.silu(mixed)).chunk(len(self.ls_out), 1)
        gated = [
            (x * g.unsqueeze(2)).flatten(1) for x, g in zip(tensors, gates, strict=True)
        ]
        return torch.cat([new, *gated], 1)

    def load(self, layer: Any) -> None:
        """Take over the weights; e3nn's linear maps divide by sqrt(inputs)."""
        pairs = (
            (self.before, layer.before),
            (self.after, layer.after),
            (self.own, layer.self_interaction),
        )
        with torch.no_grad():
            for linear, ours in pairs:
                flat = [(w * math.sqrt(len(w))).flatten() for w in ours.weights]
                cast(Tensor, linear.weight).copy_(torch.cat(flat))
            for mine, theirs in zip(self.radial, layer.filters.weights, strict=True):
                mine.copy_(theirs)
            self.species_scale.copy_(layer.species_scale)
        self.hidden.load_state_dict(layer.gate.hidden.state_dict())
        self.gates.load_state_dict(layer.gate.output.state_dict())


class PlainPotential(Potential):
    """`equicalc.models.Potential` with its message passing in e3nn.

    Embedding, radial basis, heads and repulsion are the potential's own.
    """

    def __init__(self, config: PotentialConfig, backend: str = "e3nn") -> None:
        super().__init__(config, backend="torch")
        self.harmonics = o3.SphericalHarmonics(
            list(config.ls), normalize=True, normalization="component"
        )
        last = (0, 1) if config.dipole else (0,)
        inputs = [(0,), *[config.ls] * (config.layers - 1)]
        outputs = [*[config.ls] * (config.layers - 1), last]
        self.layers = nn.ModuleList(
            PlainLayer(config, a, b) for a, b in zip(inputs, outputs, strict=True)
        )

    def forward(self, graph: Data, vectors: Tensor | None = None) -> dict[str, Tensor]:
        """Evaluate a batch, see `Potential.forward`."""
        vectors = edge_vectors(graph) if vectors is None else vectors
        vectors = vectors.to(self.embedding.dtype)
        src, dst = graph["edge_index"]
        species = self.species(graph["z"])
        distance = torch.linalg.vector_norm(vectors, dim=1)
        basis = self.basis(distance)
        edges = (src, dst, self.harmonics(vectors), basis)
        n_atoms, n_elements = len(species), len(self.elements)
        nodes = torch.cat([species, torch.arange(n_elements, device=species.device)])
        h = self.embedding[nodes]
        for layer in self.layers:
            h = layer(h, nodes, edges)
        C = self.config.channels
        network = self.energy_head(h[:, :C]).squeeze(1)
        alone = network[n_atoms:][species]
        energies = self.config.energy_scale * (network[:n_atoms] - alone).double()
        references = self.config.reference_energies or (0.0,) * n_elements
        energies = energies + energies.new_tensor(references)[species]
        if self.repulsion is not None:
            energies = energies + self.repulsion(distance, species, src, dst).double()
        out = {"energies": energies, "embedding": h[:n_atoms, :C]}
        if self.config.dipole:
            vectorial = h[:n_atoms, C : 4 * C].unflatten(1, (C, 3)).mT
            moments = self.vector_head(vectorial).squeeze(2)
            out |= self.electrostatics(
                h[:n_atoms, :C], moments, basis[:, 0], vectors, graph
            )
        return out


def plain_twin(potential: Potential) -> PlainPotential:
    """Return the same network, with the same weights, in plain e3nn."""
    device = potential.embedding.device
    twin = PlainPotential(potential.config).to(device)
    for mine, theirs in zip(twin.layers, potential.layers, strict=True):
        mine.load(theirs)  # pyright: ignore[reportCallIssue]
    state = potential.state_dict()
    own = {k: v for k, v in state.items() if not k.startswith("layers.")}
    missing, unexpected = twin.load_state_dict(own, strict=False)
    if unexpected or not all(k.startswith("layers.") for k in missing):
        raise RuntimeError(f"the twin lacks {missing}; left over: {unexpected}")
    return twin


def check_twin(potential: Potential, twin: PlainPotential, graph: Data) -> None:
    """Compare energy and forces of the two networks; raise if they differ."""
    for name, found in evaluate(twin, graph).items():
        wanted = evaluate(potential, graph)[name]
        check_close(f"the network in plain e3nn: {name}", found, wanted, TOLERANCE)
