"""Bispectra: what the directions of neighbours look like, whatever the frame."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equicalc.o3 import spherical_harmonics, wigner_3j

__all__ = ["bispectra"]

#: Largest degree of the neighbour density.
L_MAX = 4


def bispectra(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return rotation invariants of the directions of the neighbours of some atoms.

    1. :math:`c_{lm} = \sum_j Y_{lm}(u_j)`: Dirac deltas, cut off after degree 4, with
       orthonormal harmonics.
    2. All scalars of :math:`c \otimes c \otimes c` that inversion does not change, with
       orthonormal couplings: one for each l1 <= l2 <= l3 with l1 + l2 + l3 even that
       obeys the triangle inequality.

    Parameters
    ----------
    directions : (n, n_neighbours, 3)
        From the atoms to their neighbours; any length.

    Returns
    -------
    (n, 14)

    References
    ----------
    .. [1] Uhrin, "Through the eyes of a descriptor: constructing complete, invertible
       descriptions of atomic environments", Phys. Rev. B 104, 144110 (2021).

    Examples
    --------
    >>> x = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    >>> turned = np.roll(x, 1, axis=2)
    >>> bispectra(x).shape, bool(np.allclose(bispectra(x), bispectra(turned)))
    ((1, 14), True)
    """
    vectors = torch.from_numpy(np.asarray(directions, dtype=np.float64))
    Y = spherical_harmonics(
        list(range(L_MAX + 1)), vectors, normalize=True, normalization="integral"
    )
    c = [part.sum(1) for part in Y.split([2 * l + 1 for l in range(L_MAX + 1)], 2)]
    values = [
        factor * torch.einsum("na,nb,nc,abc->n", c[a], c[b], c[d], coupling)
        for (a, b, d), factor, coupling in _couplings()
    ]
    return torch.stack(values, 1).numpy()


@cache
def _couplings() -> tuple[tuple[tuple[int, int, int], float, Tensor], ...]:
    """Degrees, norm and 3j symbols of every invariant."""
    found = []
    for a in range(L_MAX + 1):
        for b in range(a, L_MAX + 1):
            for d in range(b, min(a + b, L_MAX) + 1):
                if (a + b + d) % 2 == 0:
                    # so many orders of the three factors give the same invariant
                    orders = {1: 1, 2: 3, 3: 6}[len({a, b, d})]
                    coupling = wigner_3j(a, b, d, dtype=torch.float64)
                    found.append(((a, b, d), orders**0.5, coupling))
    return tuple(found)
