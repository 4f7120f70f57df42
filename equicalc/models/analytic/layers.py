"""A layer of message passing and the way back through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from equicalc.kernels.convolution import TabulatedConvolution
from equicalc.models.analytic.edges import Structure
from equicalc.models.analytic.node_loops import Shape
from equicalc.models.analytic.nodes import NodeMaps
from equicalc.models.analytic.tables import filter_table
from equicalc.models.potential import InteractionLayer
from equicalc.nn.gate import BOUND
from equicalc.nn.radial import BesselBasis

__all__ = ["AnalyticLayer", "PullBack"]

#: From the derivative by the new features, and whether the old ones' is wanted, to
#: the derivatives by old features, harmonics and distance.
PullBack = Callable[[Tensor, bool], tuple[Tensor | None, Tensor, Tensor]]


@dataclass(frozen=True)
class AnalyticLayer:
    """An `InteractionLayer` whose derivatives are written out.

    Attributes
    ----------
    maps : NodeMaps
        Linear maps and gate.
    convolution : TabulatedConvolution
        Messages, with radial functions from a table.
    """

    maps: NodeMaps
    convolution: TabulatedConvolution

    @classmethod
    def build(cls, layer: InteractionLayer, basis: BesselBasis) -> AnalyticLayer | None:
        """Compile a layer; None where that is impossible."""
        product, gate = layer.convolution, layer.gate
        shape = Shape(
            tuple(layer.ls_in),
            product.paths.ls_out,
            product.paths_per_degree,
            layer.species_scale.shape[2],
            gate.hidden.out_features,
            BOUND,
        )
        after = [w * layer.scale for w in layer.after.weights]
        matrices = [*layer.before.weights, *after, *layer.self_interaction.weights]
        maps = NodeMaps.build(
            shape, matrices, layer.species_scale, gate.hidden, gate.output
        )
        if maps is None:
            return None
        table = filter_table(basis, layer.filters)
        convolution = TabulatedConvolution.build(product.paths, table)
        return None if convolution is None else cls(maps, convolution)

    def __call__(self, h: Tensor, structure: Structure) -> tuple[Tensor, PullBack]:
        """Update node features; return them and how to go back."""
        species = structure.species
        edges = structure.harmonics, structure.distance, structure.adjacency
        x = self.maps.before(h)
        messages = self.convolution.forward(x, *edges)
        out, saved = self.maps.after(messages, h, species)

        def pull_back(
            grad: Tensor, to_features: bool
        ) -> tuple[Tensor | None, Tensor, Tensor]:
            g_messages, g_h = self.maps.pull_after(grad, saved, species, to_features)
            g_x, g_harmonics, g_distance = self.convolution.backward(
                g_messages, x, *edges
            )
            if g_h is not None:
                self.maps.pull_before(g_x, g_h)
            return g_h, g_harmonics, g_distance

        return out, pull_back
