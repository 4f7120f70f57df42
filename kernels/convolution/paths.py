"""Paths of the uvu tensor product and its coupling coefficients."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from equicalc.o3 import wigner_3j

__all__ = ["Degree", "Paths"]

#: A degree l with the parity (-1)^l of spherical harmonics, or a pair (l, parity) such
#: as e3nn's Irrep.
Degree = int | tuple[int, int]


@dataclass(frozen=True)
class Paths:
    """Which features couple: |l_in - l_edge| <= l_out <= l_in + l_edge, parities too.

    The parity of an output is the product of those it comes from. Features with the
    parity (-1)^l of spherical harmonics couple if l_in + l_edge + l_out is even; odd
    sums lead from them to pseudotensors, of parity -(-1)^l, and back. Where all
    parities are 1 any sum is allowed: then the product is equivariant under rotations
    only, and can tell mirror images apart. The output has one block of rows per entry
    of `ls_out`; in it the components come first, then the paths that lead there, so
    that a linear map over (path, channel) is one matrix product.

    Parameters
    ----------
    ls_in, ls_edge, ls_out : tuple of int
        Degrees of node features, of edge harmonics, and wanted.
    parities : tuple of tuple of int
        1 or -1 for each of them.

    Examples
    --------
    >>> paths = Paths.between([0, 1], [0, 1], [0, 1])
    >>> paths.couplings
    ((0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1))
    >>> paths.rows
    8
    >>> pseudovector = (1, 1)
    >>> Paths.between([1], [1], [0, pseudovector]).couplings
    ((1, 1, 0), (1, 1, 1))
    """

    ls_in: tuple[int, ...]
    ls_edge: tuple[int, ...]
    ls_out: tuple[int, ...]
    parities: tuple[tuple[int, ...], ...]

    @classmethod
    def between(
        cls,
        ls_in: Iterable[Degree],
        ls_edge: Iterable[Degree],
        ls_out: Iterable[Degree],
    ) -> Paths:
        """Build from degrees, or from pairs of a degree and a parity.

        Raises
        ------
        ValueError
            If one is neither.
        """
        sides = [list(map(with_parity, side)) for side in (ls_in, ls_edge, ls_out)]
        parities = tuple(tuple(p for _, p in side) for side in sides)
        ins, edges, outs = (tuple(l for l, _ in side) for side in sides)
        return cls(ins, edges, outs, parities)

    @functools.cached_property
    def places(self) -> tuple[tuple[int, int, int], ...]:
        """Where every path begins and ends in `ls_in`, `ls_edge` and `ls_out`."""
        p_in, p_edge, p_out = self.parities
        return tuple(
            (i, j, k)
            for k, l3 in enumerate(self.ls_out)
            for i, l1 in enumerate(self.ls_in)
            for j, l2 in enumerate(self.ls_edge)
            if abs(l1 - l2) <= l3 <= l1 + l2 and p_in[i] * p_edge[j] == p_out[k]
        )

    @functools.cached_property
    def couplings(self) -> tuple[tuple[int, int, int], ...]:
        """(l_in, l_edge, l_out) of every path, in the order of `places`."""
        return tuple(
            (self.ls_in[i], self.ls_edge[j], self.ls_out[k]) for i, j, k in self.places
        )

    @functools.cached_property
    def per_degree(self) -> tuple[int, ...]:
        """Number of paths that lead to every entry of `ls_out`."""
        ends = [k for _, _, k in self.places]
        return tuple(ends.count(k) for k in range(len(self.ls_out)))

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

    @functools.cached_property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """First component of the features and of the harmonics of every path."""
        in_, edge = (
            [0, *itertools.accumulate(2 * l + 1 for l in ls)]
            for ls in (self.ls_in, self.ls_edge)
        )
        return tuple((in_[i], edge[j]) for i, j, _ in self.places)


def with_parity(given: Degree) -> tuple[int, int]:
    """Return a degree and its parity.

    Examples
    --------
    >>> with_parity(1), with_parity((1, 1))
    ((1, -1), (1, 1))
    """
    pair: tuple[Any, ...] = ()
    if isinstance(given, tuple):
        pair = tuple(iter(given))  # an Irrep has no length
    elif isinstance(given, Integral):
        pair = int(given), -1 if given % 2 else 1
    match pair:
        case (Integral() as l, 1 | -1 as parity) if int(l) >= 0:
            return int(l), parity
    raise ValueError(
        f"{given!r} is no degree: give an integer l >= 0, or a pair (l, parity) with "
        "parity 1 or -1 (of e3nn's Irreps: [ir for _, ir in irreps])"
    )


@functools.cache
def coupling_tensor(l1: int, l2: int, l3: int) -> Tensor:
    """Wigner 3j symbols times sqrt(2 l3 + 1), float64, (2l1+1, 2l2+1, 2l3+1).

    With this factor (e3nn's ``component`` normalisation) inputs whose components have
    unit variance give outputs whose components have unit variance.
    """
    return math.sqrt(2 * l3 + 1) * wigner_3j(l1, l2, l3, dtype=torch.float64)
