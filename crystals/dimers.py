"""Energies of many pairs of copies of one rigid molecule.

Potentials that say their formula in C++ are summed by compiled loops; all others, and
all where nothing can be compiled, in torch.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from equicalc.kernels.cpp import invoke, load_library
from equicalc.kernels.cpp_vectors import vector_source

from .potentials import PairPotential

__all__ = ["Dimers", "closest", "pair_sums"]

CHUNK = 200_000  # pairs of atoms at a time: fits into the cache
CLOSEST = 0.01  # Angstrom^2, keeps energies finite
PADDED = 16  # a multiple of any vector's numbers

SOURCE = """\
#include <vector>

// poses: x, y, z of n_padded atoms each; pairs: a number of each pair of atoms
extern "C" void pair_sums(const T* poses, const long* owner, const T* turns,
                          const T* places, const T* weights, const T* pairs,
                          T* energies, T* by_pose, T* by_place, long n_atoms,
                          long n_padded, long n_dimers) {{
  std::vector<T> pulls(3 * n_padded);  // on the atoms of the copy
  for (long d = 0; d < n_dimers; d++) {{
    const T *x = poses + owner[d] * 3 * n_padded, *y = x + n_padded, *z = y + n_padded;
    const T *turn = turns + 9 * d, *place = places + 3 * d;
    T *by_x = by_pose + owner[d] * 3 * n_padded, *by_y = by_x + n_padded;
    T *by_z = by_y + n_padded, *by = by_place + 3 * d;
    V sum{{}};
    for (long j = 0; j < n_atoms; j++) {{
      T other[3];
      for (int k = 0; k < 3; k++)
        other[k] = turn[3 * k] * x[j] + turn[3 * k + 1] * y[j] + turn[3 * k + 2] * z[j]
                   + place[k];
      V pull_x{{}}, pull_y{{}}, pull_z{{}};
      for (long i = 0; i < n_padded; i += W) {{
        const V dx = at(x + i) - other[0], dy = at(y + i) - other[1];
        const V dz = at(z + i) - other[2], r2 = dx * dx + dy * dy + dz * dz;
        const V least = V{{}} + (T){closest}, squared = r2 < least ? least : r2;
        const V pair = at(pairs + j * n_padded + i);
        {terms}
        const V pull = 2 * weights[d] * slope;
        sum += energy;
        at(by_x + i) += pull * dx;
        at(by_y + i) += pull * dy;
        at(by_z + i) += pull * dz;
        pull_x -= pull * dx;
        pull_y -= pull * dy;
        pull_z -= pull * dz;
      }}
      pulls[j] = total(pull_x);
      pulls[j + n_padded] = total(pull_y);
      pulls[j + 2 * n_padded] = total(pull_z);
    }}
    for (int k = 0; k < 3; k++)
      for (long j = 0; j < n_atoms; j++) {{
        const T pull = pulls[j + k * n_padded];
        by[k] += pull;
        by_x[j] += turn[3 * k] * pull;
        by_y[j] += turn[3 * k + 1] * pull;
        by_z[j] += turn[3 * k + 2] * pull;
      }}
    energies[owner[d]] += weights[d] * total(sum);
  }}
}}
"""


class Dimers(NamedTuple):
    """Pairs of a molecule and a copy of it.

    Attributes
    ----------
    owner : (n_dimers,)
        Which molecule.
    turns : (n_dimers, 3, 3)
        Orthogonal matrix that turns the copy, for columns.
    places : (n_dimers, 3), Angstrom
        Where the origin of the copy is.
    weights : (n_dimers,)
        How often the pair counts.
    """

    owner: Tensor
    turns: Tensor
    places: Tensor
    weights: Tensor

    def atoms(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Atoms of the molecules and of their copies (n_dimers, n_atoms, 3)."""
        first = poses[self.owner]
        return first, first @ self.turns.transpose(1, 2) + self.places.unsqueeze(1)


def pair_sums(
    poses: Tensor, dimers: Dimers, potential: PairPotential, pair: tuple[Tensor, ...]
) -> Tensor:
    """Energies of the dimers of each molecule, with gradients.

    Parameters
    ----------
    poses : (n_molecules, n_atoms, 3), Angstrom
        Atoms around their origins.
    dimers
    potential
    pair
        What its `combine` returns for the atoms of a molecule (n_atoms, n_atoms).

    Returns
    -------
    (n_molecules,), eV
    """
    formula = potential.formula
    library = _library(formula) if formula is not None else None
    if library is not None and poses.dtype == torch.float32:
        return _CompiledSums.apply(poses, *dimers, library, pair[0])
    each = _PairSums.apply(*dimers.atoms(poses), potential, pair)
    energies = poses.new_zeros(len(poses))
    return energies.index_add(0, dimers.owner, each * dimers.weights)


def closest(poses: Tensor, dimers: Dimers, unit: Tensor) -> Tensor:
    """Smallest squared distances (n_dimers,) in units (n_atoms, n_atoms)."""
    first, second = dimers.atoms(poses)
    parts = [
        (_squared_distances(first[part], second[part]) / unit).amin(dim=(1, 2))
        for part in _chunks(first)
    ]
    return torch.cat(parts) if parts else poses.new_zeros(0)


class _CompiledSums(torch.autograd.Function):
    """Energies of molecules (n_molecules,); the gradients are made on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        poses: Tensor,
        owner: Tensor,
        turns: Tensor,
        places: Tensor,
        weights: Tensor,
        library: ctypes.CDLL,
        pair: Tensor,
    ) -> Tensor:
        n_atoms = poses.shape[1]
        room = (0, -n_atoms % PADDED)  # atoms that add nothing: their pairs are zero
        padded = nn.functional.pad(poses.transpose(1, 2), room).contiguous()
        pairs = nn.functional.pad(pair, room).contiguous()
        energies = poses.new_zeros(len(poses))
        by_pose, by_place = torch.zeros_like(padded), torch.zeros_like(places)
        arrays = (padded, owner, turns, places, weights, pairs)
        invoke(
            library,
            "pair_sums",
            *(array.contiguous() for array in arrays),
            *(energies, by_pose, by_place),
            *(n_atoms, padded.shape[2], len(owner)),
        )
        ctx.save_for_backward(by_pose[..., :n_atoms].transpose(1, 2), by_place, owner)
        return energies

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        by_pose, by_place, owner = ctx.saved_tensors
        of_molecules = grad_outputs[0]
        of_poses = of_molecules[:, None, None] * by_pose
        of_places = of_molecules[owner, None] * by_place
        return of_poses, None, None, of_places, None, None, None


@functools.cache
def _library(formula: str) -> ctypes.CDLL | None:
    """Compile the loops of a potential; None if impossible."""
    loops = SOURCE.format(terms=formula, closest=CLOSEST)
    return load_library(vector_source(PADDED, "float") + loops)


class _PairSums(torch.autograd.Function):
    """Energies (n_dimers,) of pairs of molecules (n_dimers, n_atoms, 3).

    The gradient is made in the forward pass, chunk by chunk, from the slope s of each
    pair: it is 2 s (x - y) on x, a product of matrices once more.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        potential: PairPotential,
        pair: tuple[Tensor, ...],
    ) -> Tensor:
        energies = x.new_empty(len(x))
        by_x, by_y = torch.empty_like(x), torch.empty_like(y)
        for part in _chunks(x):
            a, b = x[part], y[part]
            terms, slopes = potential.terms(_squared_distances(a, b), pair)
            energies[part] = terms.sum(dim=(1, 2))
            by_x[part] = 2 * (slopes.sum(2, keepdim=True) * a - slopes @ b)
            back = slopes.transpose(1, 2)
            by_y[part] = 2 * (back.sum(2, keepdim=True) * b - back @ a)
        ctx.save_for_backward(by_x, by_y)
        return energies

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        by_x, by_y = ctx.saved_tensors
        weight = grad_outputs[0][:, None, None]
        return weight * by_x, weight * by_y, None, None


def _chunks(dimers: Tensor) -> list[slice]:
    size = max(1, CHUNK // max(1, dimers.shape[1] ** 2))
    return [slice(start, start + size) for start in range(0, len(dimers), size)]


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Between all atoms of two molecules: (n_dimers, n_atoms, n_atoms).

    One product of matrices: |a - b|^2 = (a, a^2, 1) (-2 b, 1, b^2).
    """
    ones = torch.ones_like(a[..., :1])
    left = torch.cat([a, a.square().sum(-1, keepdim=True), ones], dim=-1)
    right = torch.cat([-2 * b, ones, b.square().sum(-1, keepdim=True)], dim=-1)
    return (left @ right.transpose(1, 2)).clamp_(min=CLOSEST)
