"""Edges of a graph, ordered by receiver and by sender."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .paths import Paths

__all__ = ["Adjacency"]

Needed = tuple[Tensor, tuple[int, ...]]  # an array and the shape that it must have


@dataclass(frozen=True)
class Adjacency:
    """Compressed rows of a directed graph in both directions.

    Sums over a node's edges run in a fixed order without atomics, so that results are
    the same to the last bit from run to run.

    Attributes
    ----------
    src, dst : Tensor
        (n_edges,) sender and receiver of every edge, sorted by receiver.
    dst_ptr : Tensor
        (n_nodes + 1,) node i receives edges ``dst_ptr[i]`` to ``dst_ptr[i + 1]``.
    src_order : Tensor
        (n_edges,) edges sorted by sender.
    src_ptr : Tensor
        (n_nodes + 1,) node i sends edges ``src_order[src_ptr[i]:src_ptr[i + 1]]``.
    """

    src: Tensor
    dst: Tensor
    dst_ptr: Tensor
    src_order: Tensor
    src_ptr: Tensor

    @classmethod
    def from_edges(cls, src: Tensor, dst: Tensor, n_nodes: int) -> Adjacency:
        """Build from edges that are sorted by receiver.

        Raises
        ------
        ValueError
            If they are not, if a node does not exist, or if there is not one sender and
            one receiver for every edge.

        Examples
        --------
        >>> src, dst = torch.tensor([1, 0, 0]), torch.tensor([0, 1, 2])
        >>> Adjacency.from_edges(src, dst, 3).src_ptr
        tensor([0, 2, 3, 3])
        """
        if src.dim() != 1 or src.shape != dst.shape:
            given = f"{tuple(src.shape)} senders and {tuple(dst.shape)} receivers"
            raise ValueError(f"{given}: one of each is needed for every edge")
        checking = not torch.compiler.is_compiling()  # that cannot follow values
        if checking and (dst[1:] < dst[:-1]).any():
            raise ValueError(
                "edges are not sorted by receiver: sort edge_index by its second row"
            )
        src, dst = src.long().contiguous(), dst.long().contiguous()
        nodes = torch.arange(n_nodes + 1, device=dst.device)
        senders, order = torch.sort(src, stable=True)
        dst_ptr = torch.searchsorted(dst, nodes)
        src_ptr = torch.searchsorted(senders, nodes)
        at_a_node = dst_ptr[-1] - dst_ptr[0] + src_ptr[-1] - src_ptr[0]
        if checking and at_a_node != len(src) + len(dst):
            raise ValueError(f"an edge leads beyond the {n_nodes} nodes that there are")
        return cls(src, dst, dst_ptr, order, src_ptr)

    def check(
        self, paths: Paths, channels: int, x: Tensor, y: Tensor, **others: Needed
    ) -> None:
        """Refuse arrays that the loops, which check nothing, would read beyond.

        Parameters
        ----------
        paths, channels : Paths, int
            What is coupled.
        x, y : Tensor
            (n_nodes, sum 2l_in+1, channels) and (n_edges, sum 2l_edge+1).
        **others : (Tensor, tuple of int)
            By name, other arrays and the shapes that they must have.

        Raises
        ------
        ValueError
            For other shapes, and if not all are of one floating-point type on a device.
        """
        shape_x = self.dst_ptr.shape[0] - 1, paths.n_in, channels
        shape_y = self.src.shape[0], paths.n_edge
        if not x.is_floating_point():
            raise ValueError(f"x is {x.dtype}, a floating-point type is needed")
        arrays = {"x": (x, shape_x), "y": (y, shape_y), **others}
        for name, (array, shape) in arrays.items():
            given = tuple(array.shape)
            if given != shape:
                raise ValueError(f"{name} has shape {given}, {tuple(shape)} is needed")
            if array.dtype != x.dtype or array.device != x.device:
                raise ValueError(
                    f"{name} is {array.dtype} on {array.device}, "
                    f"x is {x.dtype} on {x.device}"
                )

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all five index tensors, in the order of the attributes."""
        return self.src, self.dst, self.dst_ptr, self.src_order, self.src_ptr
