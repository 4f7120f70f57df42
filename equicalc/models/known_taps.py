"""Where irreps pass through the networks of this package."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from equicalc.data.fragment_batch import FragmentBatch, Molecules
from equicalc.kernels import SphericalHarmonics
from equicalc.models.equitriton import EquiTriton
from equicalc.models.lattice import LatticeMember, LatticeNetwork
from equicalc.models.mace import Mace
from equicalc.models.mo3enet import Mo3ENet
from equicalc.models.potential import InteractionLayer, Potential
from equicalc.models.property_network import PropertyNetwork
from equicalc.models.qm9net import FusedLayer, OutputBlock, QM9Net
from equicalc.models.symphony import Symphony
from equicalc.models.taps import Tap, Taps, as_irreps, taps_of
from equicalc.nn.species import SpeciesIndex
from equicalc.o3 import Irreps

if TYPE_CHECKING:
    from torch_geometric.data import Data


@taps_of.register
def _potential(model: Potential) -> Taps:
    layers = [cast(InteractionLayer, layer) for layer in model.layers]
    return Taps(
        features=tuple(map(_features, layers)),
        run=model,
        inlets=_messages(model.harmonics, layers),
    )


@taps_of.register
def _symphony(model: Symphony) -> Taps:
    """Tap the heavy atoms, which alone have features; the last layer is normalised."""
    layers = [cast(InteractionLayer, layer) for layer in model.layers]
    last = Tap(model.norm, _irreps(layers[-1]), "channels last")
    return Taps(
        features=(*map(_features, layers[:-1]), last),
        run=lambda graph: model.embed(_whole_molecules(graph, model)),
        inlets=_messages(model.harmonics, layers),
        rows=_heavy,
        molecules_only=True,
    )


@taps_of.register
def _property_network(model: PropertyNetwork) -> Taps:
    irreps = as_irreps(model.irreps_features)
    layers = cast(nn.ModuleList, model.layers)
    features = tuple(Tap(layer, irreps, "blocks") for layer in layers)
    return Taps(features, run=model, molecules_only=True)


@taps_of.register
def _equitriton(model: EquiTriton) -> Taps:
    """Tap the harmonics too: their degrees are those of the features."""
    return replace(_property_network(model), inlets=(_edges(model.harmonics),))


@taps_of.register
def _qm9net(model: QM9Net) -> Taps:
    """Tap what gates of fused layers read, or the layers of the targets' own, too."""
    if model.config.convolution == "fused":
        layers = [cast(FusedLayer, layer).interaction for layer in model.layers]
        inlets = _messages(model.harmonics, layers)
    else:
        channels = enumerate(model.config.output_multiplicities)
        own = as_irreps([(n, (l, (-1) ** l)) for l, n in channels if n])
        inlets = tuple(
            Tap(layer, own, "blocks")
            for block in model.outputs
            if isinstance(block, OutputBlock)
            for layer in block.layers
        )
    return replace(_property_network(model), inlets=inlets)


@taps_of.register
def _mo3enet(model: Mo3ENet) -> Taps:
    vectors = as_irreps([(model.config.bottleneck, (1, -1))])
    return Taps(
        features=(Tap(model.encoder, vectors, "channels last"),),
        run=model.encode,
        per_atom=False,
        ignored=() if 1 in model.elements else (1,),
        molecules_only=True,
    )


@taps_of.register
def _mace(model: Mace) -> Taps:
    products = cast(Iterable[Any], model.network.products)
    return Taps(
        features=tuple(
            Tap(one, as_irreps(str(one.linear.irreps_out))) for one in products
        ),
        run=model,
    )


@taps_of.register
def _lattice(model: LatticeNetwork) -> Taps:
    """Tap what every member knows of atoms in their molecule, before any crystal."""
    scalars, vectors = model.config.channels, model.config.vectors
    irreps = as_irreps([(scalars, (0, 1)), (vectors, (1, -1))])
    members = [cast(LatticeMember, member) for member in model.members]
    return Taps(
        features=tuple(Tap(one.sites, irreps, "channels first") for one in members),
        run=partial(_sites, model, members),
        molecules_only=True,
    )


def _edges(harmonics: SphericalHarmonics) -> Tap:
    return Tap(harmonics, cast(Irreps, harmonics.irreps_out))


def _messages(
    harmonics: SphericalHarmonics, layers: Sequence[InteractionLayer]
) -> tuple[Tap, ...]:
    """Tap the edges, and what goes into the gates, which read norms."""
    sums = (Tap(layer.after, _irreps(layer), "blocks") for layer in layers)
    return (_edges(harmonics), *sums)


def _features(layer: InteractionLayer) -> Tap:
    return Tap(layer, _irreps(layer), "channels last")


def _irreps(layer: InteractionLayer) -> Irreps:
    channels = layer.species_scale.shape[2]
    return as_irreps([(channels, (l, (-1) ** l)) for l in layer.after.ls])


def _sites(
    model: LatticeNetwork, members: Sequence[LatticeMember], graph: Data
) -> list[tuple[Tensor, Tensor]]:
    """Describe the atoms of molecules, by member."""
    pos = graph["pos"].to(next(model.parameters()).dtype)
    species, bonds = model.species(graph["z"]), model.bonds(pos, graph["ptr"])
    return [member.sites(species, bonds) for member in members]


def _heavy(graph: Data) -> Tensor:
    return (graph["z"] > 1).nonzero().squeeze(1)


def _whole_molecules(graph: Data, model: Symphony) -> FragmentBatch:
    """Return the molecules of a graph as fragments that lack nothing."""
    z, batch = graph["z"], graph["batch"]
    pos = graph["pos"].to(model.embedding.dtype)
    n_graphs = len(graph["ptr"]) - 1
    heavy, n_heavy = _rank(z > 1, batch, n_graphs)
    hydrogen, n_hydrogen = _rank(z == 1, batch, n_graphs)
    if not n_heavy.all():
        raise ValueError(
            "the generator has features of heavy atoms, and a structure has none"
        )
    species = z.new_zeros(n_graphs, int(n_heavy.max()))
    species[heavy] = SpeciesIndex(model.elements).to(z.device)(z[z > 1])
    heavy_pos = pos.new_zeros(*species.shape, 3)
    heavy_pos[heavy] = pos[z > 1]
    hydrogen_pos = pos.new_zeros(n_graphs, int(n_hydrogen.max()), 3)
    hydrogen_pos[hydrogen] = pos[z == 1]
    return FragmentBatch.build(
        Molecules(species, heavy_pos, hydrogen_pos),
        torch.arange(n_graphs, device=z.device),
        n_heavy,
        n_hydrogen,
        model.config.cutoff,
        model.config.hydrogen_cutoff,
    )


def _rank(
    chosen: Tensor, batch: Tensor, n_graphs: int
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Graph and place in it of every chosen atom, and how many there are by graph."""
    graph = batch[chosen]
    n = torch.bincount(graph, minlength=n_graphs)
    first = n.cumsum(0) - n
    place = torch.arange(len(graph), device=graph.device) - first[graph]
    return (graph, place), n
