"""Paths of the uvu tensor product and its coupling coefficients."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from equicalc.o3 import wigner_3j

__all__ = ["Paths"]


@dataclass(frozen=True)
class Paths:
    """Which degrees couple: l_in x l_edge -> l_out with l_in + l_edge + l_out even.

    Even sums keep the parity (-1)^l of spherical harmonics, so the product is
    equivariant under inversion too; with odd ones it is so under rotations only, and
    can tell mirror images apart. The output has one block of rows per degree of
    `ls_out`; in it the components come first, then the paths that lead there, so that
    a linear map over (path, channel) is one matrix product.

    Parameters
    ----------
    ls_in, ls_edge, ls_out : tuple of int
        Degrees of node features, of edge harmonics, and wanted.
    chiral : bool
        Couple to odd sums, too.

    Examples
    --------
    >>> paths = Paths((0, 1), (0, 1), (0, 1))
    >>> paths.couplings
    ((0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1))
    >>> paths.rows
    8
    """

    ls_in: tuple[int, ...]
    ls_edge: tuple[int, ...]
    ls_out: tuple[int, ...]
    chiral: bool = False

    @functools.cached_property
    def couplings(self) -> tuple[tuple[int, int, int], ...]:
        """(l_in, l_edge, l_out) of every path, grouped by l_out."""
        return tuple(
            (l1, l2, l3)
            for l3 in self.ls_out
            for l1 in self.ls_in
            for l2 in self.ls_edge
            if abs(l1 - l2) <= l3 <= l1 + l2
            and (self.chiral or (l1 + l2 + l3) % 2 == 0)
        )

    @functools.cached_property
    def per_degree(self) -> tuple[int, ...]:
        """Number of paths that lead to every degree of `ls_out`."""
        ends = [l3 for _, _, l3 in self.couplings]
        return tuple(ends.count(l3) for l3 in self.ls_out)

    @functools.cached_property
    def rows(self) -> int:
        """Rows of the output per channel, the sum of 2 l_out + 1 over the paths."""
        return sum(2 * l3 + 1 for _, _, l3 in self.couplings)

    @property
    def n_in(self) -> int:
        """Components of the node features."""
        return sum(2 * l + 1 for l in self.ls_in)

    @property
    def n_edge(self) -> int:
        """Components of the harmonics of an edge."""
        return sum(2 * l + 1 for l in self.ls_edge)

    @functools.cached_property
    def row_of(self) -> tuple[tuple[int, ...], ...]:
        """Output row of every component of every path."""
        rows: list[tuple[int, ...]] = []
        start = 0
        for l3, n_paths in zip(self.ls_out, self.per_degree, strict=True):
            stop = start + (2 * l3 + 1) * n_paths
            rows += [tuple(range(start + p, stop, n_paths)) for p in range(n_paths)]
            start = stop
        return tuple(rows)

    def offset(self, ls: tuple[int, ...], l: int) -> int:
        """First component of degree `l` in features of degrees `ls`."""
        return sum(2 * k + 1 for k in ls[: ls.index(l)])


@functools.cache
def coupling_tensor(l1: int, l2: int, l3: int) -> Tensor:
    """Wigner 3j symbols times sqrt(2 l3 + 1), float64, (2l1+1, 2l2+1, 2l3+1).

    With this factor (e3nn's ``component`` normalisation) inputs whose components have
    unit variance give outputs whose components have unit variance.
    """
    return math.sqrt(2 * l3 + 1) * wigner_3j(l1, l2, l3, dtype=torch.float64)
