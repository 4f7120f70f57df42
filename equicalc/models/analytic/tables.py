"""Radial functions of a potential as tables."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from equicalc.kernels.convolution import RadialTable
from equicalc.nn.radial import BesselBasis, RadialFilter

__all__ = ["decay_table", "filter_table"]

#: Largest error of a radial function in its table, relative to the largest value.
TOLERANCES = {torch.float32: 1e-7, torch.float64: 1e-10}
#: First knot of the tables, Angstrom.
NEAREST = 0.02


def filter_table(basis: BesselBasis, filters: RadialFilter) -> RadialTable:
    """Tabulate the radial weights of a layer."""
    dtype = filters.matrix.dtype
    wide, deep = copy.deepcopy(basis).double(), copy.deepcopy(filters).double()
    table = _table(lambda r: deep.hidden(wide(r)), basis.cutoff, dtype)
    return table.mixed(deep.matrix.detach()).to(dtype)


def decay_table(basis: BesselBasis, dtype: torch.dtype) -> RadialTable:
    """Tabulate the first radial function, with which charges are exchanged."""
    wide = copy.deepcopy(basis).double()
    table = _table(lambda r: wide.first(r).unsqueeze(1), basis.cutoff, dtype)
    return table.to(dtype)


def _table(
    function: Callable[[Tensor], Tensor], cutoff: float, dtype: torch.dtype
) -> RadialTable:
    """Return a table in double precision that is exact enough for a `dtype`."""
    with torch.enable_grad():
        return RadialTable.build(
            function, NEAREST, cutoff, TOLERANCES[dtype], torch.float64
        )
