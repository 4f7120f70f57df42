"""Linear maps and gate of a layer's nodes, compiled, with derivatives by hand."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equicalc.kernels.cpp import invoke, load_library
from equicalc.kernels.cpp_vectors import CTYPES
from equicalc.models.analytic.node_loops import Shape, maps_source

__all__ = ["NodeMaps"]

Saved = tuple[Tensor, Tensor, Tensor]  # of the forward pass


@functools.cache
def library(shape: Shape, dtype: torch.dtype) -> ctypes.CDLL | None:
    """Compile the maps; None if impossible."""
    if dtype not in CTYPES:
        return None
    return load_library(maps_source(shape, CTYPES[dtype]))


@dataclass(frozen=True)
class NodeMaps:
    """What a layer does at its nodes before and after the convolution.

    Before: x_l = h_l B_l for every degree l. After, with messages m, z the species:

    1. x_l = m_l A_l + (s_zl h_l) S_l
    2. invariants v = x_0 and the mean squares of x_l, bounded by v / sqrt(1 + v^2/b^2)
    3. (y_0, gates) = O silu(H v + c) + d
    4. y_l = gate_l x_l

    Attributes
    ----------
    shape : Shape
        Degrees and channels.
    scale : Tensor
        (n_species, kept degrees, channels) s.
    weights, transposed : Tensor
        All matrices as the forward and as the backward pass reads them.
    compiled : ctypes.CDLL
        The loops.
    """

    shape: Shape
    scale: Tensor
    weights: Tensor
    transposed: Tensor
    compiled: ctypes.CDLL

    @classmethod
    def build(
        cls,
        shape: Shape,
        matrices: Sequence[Tensor],
        scale: Tensor,
        hidden: nn.Linear,
        output: nn.Linear,
    ) -> NodeMaps | None:
        """Compile and pack the weights; None where nothing can be compiled.

        Parameters
        ----------
        shape : Shape
            Degrees and channels.
        matrices : sequence of Tensor
            B_l for all degrees of the input, A_l for all of the output, S_l for those
            that both have.
        scale : Tensor
            (n_species, kept degrees, channels).
        hidden, output : nn.Linear
            Of the gate.
        """
        compiled = library(shape, scale.dtype) if scale.device.type == "cpu" else None
        if compiled is None:
            return None
        ahead = [*matrices, hidden.weight.t(), output.weight.t()]
        back = [*(m.t() for m in matrices), hidden.weight, output.weight]
        biases = [hidden.bias, output.bias]
        weights = _packed(ahead + biases), _packed(back)
        return cls(shape, scale.contiguous(), *weights, compiled)

    def before(self, h: Tensor) -> Tensor:
        """Map features (n_nodes, rows, channels) before the convolution."""
        x = torch.empty_like(h)
        self._call("before", h, self.weights, x, len(h), 0)
        return x

    def pull_before(self, grad: Tensor, to: Tensor) -> None:
        """Add to a derivative by the features what comes through `before`."""
        self._call("before", grad, self.transposed, to, len(grad), 1)

    def after(
        self, messages: Tensor, h: Tensor, species: Tensor
    ) -> tuple[Tensor, Saved]:
        """Map messages and features; return new features, and what goes back needs."""
        n, shape = len(h), self.shape
        out = h.new_empty(n, shape.rows_out[-1], shape.channels)
        gates = h.new_empty(n, len(shape.ls_out), shape.channels)
        x, slopes = torch.empty_like(out), h.new_empty(n, shape.width)
        inputs = (messages, h, species, self.scale, self.weights)
        self._call("after", *inputs, out, x, gates, slopes, n)
        return out, (x, gates, slopes)

    def pull_after(
        self, grad: Tensor, saved: Saved, species: Tensor, to_features: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return the derivatives by messages and, if asked for, by features."""
        n, shape = len(grad), self.shape
        g_messages = grad.new_empty(n, shape.rows[-1], shape.channels)
        g_h = None
        if to_features:
            g_h = grad.new_empty(n, shape.rows_in[-1], shape.channels)
        inputs = (grad, *saved, species, self.scale, self.transposed)
        self._call("pull_after", *inputs, g_messages, g_h, n)
        return g_messages, g_h

    def _call(self, name: str, *arguments: Tensor | int | None) -> None:
        invoke(self.compiled, name, *arguments, torch.get_num_threads())


def _packed(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for t in tensors])
