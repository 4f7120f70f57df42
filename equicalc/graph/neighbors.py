"""Pairs of atoms nearer than a cutoff, through periodic boundaries."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Up to this many atoms in empty space, looking at every pair is fastest.
_FEW = 64
# More images than this along one direction is a mistake in the cell, not a crystal.
_MAX_IMAGES = 100


def neighbor_list(
    positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike, cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find every pair of atoms nearer than a cutoff, through periodic boundaries.

    Exact for any mixture of boundaries, for cells smaller than the cutoff, for atoms
    outside of the cell, and far from the origin.

    Parameters
    ----------
    positions : (n_atoms, 3), Angstrom
        Need not lie inside the cell.
    cell : (3, 3), Angstrom
        Rows are lattice vectors. Those that are not periodic are not read.
    pbc : (3,) bool
        Periodic along each lattice vector.
    cutoff : Angstrom

    Returns
    -------
    src, dst : (n_edges,)
        The neighbour and the centre, sorted by ``dst``, then ``src``, then shift. Both
        directions are listed.
    shifts : (n_edges, 3)
        The vector from centre to neighbour is
        ``positions[src] + shifts @ cell - positions[dst]``.

    Raises
    ------
    ValueError
        If positions or cell are not finite, the periodic lattice vectors are
        dependent or absurdly short, or the cutoff is not positive.

    Notes
    -----
    1. Along directions without periodicity, empty slabs wider than the cutoff are
       shrunk: no pair can bridge them, and the search then costs the same for two
       molecules side by side or a metre apart.
    2. The cell is completed by a box around the atoms, orthogonal to the periodic
       lattice vectors.
    3. vesin finds the pairs.

    For a few atoms without periodicity all pairs are tried.

    Examples
    --------
    >>> src, dst, shifts = neighbor_list([[0, 0, 0]], np.eye(3), [1, 0, 0], 1.5)
    >>> shifts.tolist()
    [[-1, 0, 0], [1, 0, 0]]
    """
    from vesin import NeighborList

    positions = _checked(positions, (-1, 3), "positions")
    cell = _checked(cell, (3, 3), "cell")
    periodic = np.asarray(pbc, dtype=bool).reshape(3)
    if not cutoff > 0:
        raise ValueError(f"cutoff is {cutoff}; it must be a positive length")
    if len(positions) <= _FEW and not periodic.any():
        return _all_pairs(positions, cutoff)
    _check_lattice(cell[periodic], cutoff)
    points, box = positions, cell
    if not periodic.all():
        points, box = _boxed(positions, cell, periodic, cutoff)
    # 3
    search = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    dst, src, shifts = search.compute(points, box, periodic, quantities="ijS")
    return _sorted(src.astype(np.int64), dst.astype(np.int64), shifts.astype(np.int64))


def _boxed(
    positions: NDArray[Any],
    cell: NDArray[Any],
    periodic: NDArray[np.bool_],
    cutoff: float,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Positions without wide gaps, and a box around them; see `neighbor_list`."""
    free = _free_directions(cell[periodic])  # (n_free, 3)
    # 1
    along = _without_gaps(positions @ free.T, cutoff)  # (n_atoms, n_free)
    points = positions - positions @ free.T @ free + along @ free
    # 2
    extent = along.max(axis=0, initial=0.0) + 2 * cutoff  # (n_free,)
    box = cell.copy()
    box[~periodic] = extent[:, None] * free
    return points, box


def _all_pairs(
    positions: NDArray[Any], cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Compare every distance in empty space with the cutoff; see `neighbor_list`."""
    between = positions[:, None] - positions  # (n_atoms, n_atoms, 3)
    near = np.einsum("ijk,ijk->ij", between, between) < cutoff**2
    near.flat[:: len(positions) + 1] = False
    dst, src = near.nonzero()
    return src, dst, np.zeros((len(src), 3), np.int64)


def _sorted(
    src: NDArray[np.int64], dst: NDArray[np.int64], shifts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sort pairs by dst, src and shift, all three as digits of one number."""
    reach, n_atoms = np.abs(shifts).max(initial=0), src.max(initial=0) + 1
    base = 2 * reach + 1
    digits = (shifts + reach) @ np.array([base**2, base, 1])
    order = np.argsort((dst * n_atoms + src) * base**3 + digits, kind="stable")
    return src[order], dst[order], shifts[order]


def _checked(values: ArrayLike, shape: tuple[int, int], name: str) -> NDArray[Any]:
    """Return a finite float64 array of the shape, or say what is wrong."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 and shape[0] == -1:
        array = array.reshape(0, shape[1])
    if array.ndim != 2 or any(n not in (-1, m) for n, m in zip(shape, array.shape)):
        raise ValueError(
            f"{name} has shape {array.shape}; ({shape[0]}, {shape[1]}) needed"
        )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{name} is not finite in row {bad[0]} ({array[bad[0]].tolist()}), "
            f"one of {bad.size} such rows"
        )
    return array


def _check_lattice(vectors: NDArray[Any], cutoff: float) -> None:
    """Refuse periodic lattice vectors (n_periodic, 3) that span no sensible cell."""
    lengths = np.linalg.norm(vectors, axis=1)
    gram = vectors @ vectors.T
    if np.linalg.det(gram) <= 1e-12 * np.prod(lengths) ** 2:
        raise ValueError(
            f"the periodic lattice vectors {vectors.tolist()} are zero or linearly "
            "dependent: set a cell, or set pbc to False"
        )
    # distance between lattice planes: 1 / |reciprocal vector|
    heights = 1.0 / np.sqrt(np.diag(np.linalg.inv(gram)))
    if (heights * _MAX_IMAGES < cutoff).any():
        raise ValueError(
            f"the cell is only {heights.min():.3g} Angstrom high, with a cutoff of "
            f"{cutoff} Angstrom: is it given in another unit?"
        )


def _free_directions(vectors: NDArray[Any]) -> NDArray[Any]:
    """Orthonormal directions (3 - n, 3) orthogonal to n lattice vectors (n, 3)."""
    return np.linalg.qr(vectors.T, mode="complete")[0].T[len(vectors) :]


def _without_gaps(along: NDArray[Any], cutoff: float) -> NDArray[Any]:
    """Start each column (n_atoms, k) at 0 and shrink its gaps to twice the cutoff."""
    order = np.argsort(along, axis=0)
    steps = np.diff(np.take_along_axis(along, order, axis=0), axis=0, prepend=0.0)
    steps[:1] = 0.0
    result = np.empty_like(along)
    packed = np.cumsum(np.minimum(steps, 2 * cutoff), axis=0)
    np.put_along_axis(result, order, packed, axis=0)
    return result
