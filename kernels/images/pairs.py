"""Pairs of atoms around a molecule, found by compiled loops."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equicalc.kernels.cpp import invoke, load_library

from .cpp_images import PAIRS

__all__ = ["compiled_pairs"]

ROOM = 1.5  # pairs for which there is room, over those of an even density


def compiled_pairs(
    positions: Tensor, cell: Tensor, center: int, cutoff: float
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Do what `equicalc.crystals.neighbours.pairs_around` does, with tensors.

    The order of the pairs may differ. None where nothing can be compiled.
    """
    library = load_library(PAIRS)
    if library is None:
        return None
    positions, cell = positions.double().contiguous(), cell.double().contiguous()
    n_molecules, size, _ = positions.shape
    density = n_molecules * size / _volume(cell)
    sphere = 4 / 3 * math.pi * cutoff**3
    capacity = int(ROOM * size * density * sphere) + size
    count = torch.zeros(1, dtype=torch.int64)
    reach = torch.tensor([cutoff], dtype=torch.float64)
    while True:
        rows = torch.empty(3, capacity, dtype=torch.int64)
        vectors = torch.empty(capacity, 3, dtype=torch.float64)
        numbers = (n_molecules, size, int(center), capacity)
        arrays = (positions, cell, reach, count, *rows, vectors)
        invoke(library, "pairs_around", *arrays, *numbers)
        n = int(count)
        if n <= capacity:
            atoms, molecules, others = rows[:, :n]
            return atoms, molecules, others, vectors[:n]
        capacity = n


def _volume(cell: Tensor) -> float:
    """Of a cell; faster than a determinant of torch."""
    (a, b, c), (d, e, f), (g, h, i) = cell.tolist()
    return abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
