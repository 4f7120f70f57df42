"""Distorted geometries, from a structure alone: no force field, no topology file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from equicalc.calculators.structures import MIN_DISTANCE
from equicalc.data.bonds import bond_matrix, radius_sums

BOND_STIFFNESS = 30.0  # eV/Angstrom^2, a typical single bond
STIFFNESS_DECAY = 3.3  # per relative bond length: bends ~ 3, torsions ~ 0.3 eV/A^2
SOFTEST_MODE = 1.0  # eV/Angstrom^2, keeps out-of-plane motions finite
POLAR = (7, 8, 9, 16, 17)  # atoms of hydrogen bonds: N O F S Cl
MORE_APPROACHES = 39  # tries to hit a hydrogen bond


def model_hessian(atoms: Atoms) -> NDArray[np.float64]:
    """Force constants of a molecule from pairwise springs that decay with distance.

    In the spirit of Lindh's model Hessian [1]_, with springs between all pairs in
    place of internal coordinates: bonds, angles and torsions are springs between
    first, second and third neighbours. Rigid motions have eigenvalue zero.

    Parameters
    ----------
    atoms
        Molecule of n_atoms.

    Returns
    -------
    (3 n_atoms, 3 n_atoms), eV/Angstrom^2

    Raises
    ------
    ValueError
        If two atoms overlap.

    References
    ----------
    .. [1] R. Lindh et al., Chem. Phys. Lett. 241, 423 (1995).
    """
    n = len(atoms)
    vectors = atoms.positions[:, None] - atoms.positions  # (n, n, 3)
    distances = np.linalg.norm(vectors, axis=-1) + np.eye(n)
    if distances.min() < MIN_DISTANCE:
        i, j = np.unravel_index(distances.argmin(), distances.shape)
        raise ValueError(
            f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) are "
            f"{distances[i, j]:.3g} Angstrom apart, less than {MIN_DISTANCE}: they "
            "overlap; remove one or move it"
        )
    stretch = distances / radius_sums(atoms) - 1.0
    stiffness = BOND_STIFFNESS * np.exp(-STIFFNESS_DECAY * np.maximum(stretch, 0.0))
    np.fill_diagonal(stiffness, 0.0)
    directions = vectors / distances[..., None]
    blocks = -np.einsum("ij,ija,ijb->iajb", stiffness, directions, directions)
    index = np.arange(n)
    blocks[index, :, index, :] = -blocks.sum(axis=2)
    return blocks.reshape(3 * n, 3 * n)


def thermal_modes(atoms: Atoms, temperature: float, rng: np.random.Generator) -> Atoms:
    """Displace along the normal modes of `model_hessian` as classical oscillators.

    Each vibration gets a normal amplitude of variance kT/k; rigid motions get none.
    """
    internal = _internal_basis(atoms)
    values, modes = np.linalg.eigh(internal.T @ model_hessian(atoms) @ internal)
    stiffness = np.maximum(values, SOFTEST_MODE)
    amplitudes = rng.normal(size=len(values)) * np.sqrt(
        units.kB * temperature / stiffness
    )
    displaced = atoms.copy()
    displaced.positions += (internal @ modes @ amplitudes).reshape(-1, 3)
    return displaced


def gaussian_noise(atoms: Atoms, sigma: float, rng: np.random.Generator) -> Atoms:
    """Displace every coordinate by normal noise of `sigma` (Angstrom)."""
    displaced = atoms.copy()
    displaced.positions += rng.normal(scale=sigma, size=(len(atoms), 3))
    return displaced


def stretch_bond(atoms: Atoms, factor: float, rng: np.random.Generator) -> Atoms:
    """Scale the length of one random bond, its two sides moved rigidly.

    A bond in a ring has no sides: where there are no others the whole molecule is
    scaled by the cube root of `factor` instead.
    """
    stretched = atoms.copy()
    adjacency = bond_matrix(atoms)
    for i, j in rng.permutation(np.argwhere(np.triu(adjacency))):
        side = _side(adjacency, i, j)
        if not side[i]:
            bond = atoms.positions[j] - atoms.positions[i]
            stretched.positions[side] += bond * (factor - 1.0)
            return stretched
    center = atoms.positions.mean(axis=0)
    stretched.positions = center + (atoms.positions - center) * np.cbrt(factor)
    return stretched


def _side(adjacency: NDArray[np.bool_], i: int, j: int) -> NDArray[np.bool_]:
    """Atoms that hang together with j when the bond i-j is cut."""
    cut = adjacency.copy()
    cut[i, j] = cut[j, i] = False
    side = np.zeros(len(cut), dtype=bool)
    side[j] = True
    while (grown := side | cut[side].any(axis=0)).sum() > side.sum():
        side = grown
    return side


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Rotation matrix drawn uniformly."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    if np.linalg.det(q) < 0:
        q[:, 0] *= -1.0
    return q


def join(
    first: Atoms,
    second: Atoms,
    contact: float,
    rng: np.random.Generator,
    hydrogen_bond: bool = False,
) -> Atoms:
    """Put `second` beside `first`, both turned at random, at a closest distance.

    Parameters
    ----------
    first, second
        Molecules; both stay as they are.
    contact
        Smallest distance between atoms of the two, Angstrom.
    rng
        Source of the orientations and the line of approach.
    hydrogen_bond
        Prefer orientations in which the closest pair is a hydrogen bond: a hydrogen
        on N, O, F, S or Cl and a N, O, F, S or Cl atom.
    """
    joined, closest = _approach(first, second, contact, rng)
    for _ in range(MORE_APPROACHES if hydrogen_bond else 0):
        if _is_hydrogen_bond(first, second, closest):
            break
        joined, closest = _approach(first, second, contact, rng)
    return joined


def cluster(
    molecules: Sequence[Atoms], contacts: Sequence[float], rng: np.random.Generator
) -> Atoms:
    """Add molecules one by one, each at its closest distance (Angstrom)."""
    grown = molecules[0]
    for molecule, contact in zip(molecules[1:], contacts, strict=True):
        grown = join(grown, molecule, contact, rng, hydrogen_bond=True)
    return grown


def _approach(
    first: Atoms, second: Atoms, contact: float, rng: np.random.Generator
) -> tuple[Atoms, tuple[int, int]]:
    """Slide `second` in from afar along a random line until contact."""
    a = first.positions @ random_rotation(rng).T
    b = second.positions @ random_rotation(rng).T
    a -= a.mean(axis=0)
    b -= b.mean(axis=0)
    b[:, :2] += rng.normal(scale=0.5, size=2)
    # |a - (b + t z)| = contact has the largest root t of all pairs as the first touch
    gap = a[:, None] - b  # (n_a, n_b, 3)
    reach = contact**2 - (gap[..., :2] ** 2).sum(axis=-1)
    touch = np.where(reach >= 0, gap[..., 2] + np.sqrt(np.maximum(reach, 0)), -np.inf)
    shift = touch.max()
    if not np.isfinite(shift):  # the line passes outside: put it straight on top
        shift, touch = gap[..., 2].max() + contact, gap[..., 2]
    b[:, 2] += shift
    i, j = np.unravel_index(int(touch.argmax()), touch.shape)
    joined = Atoms(np.concatenate([first.numbers, second.numbers]), np.vstack([a, b]))
    return joined, (int(i), int(j))


def _is_hydrogen_bond(first: Atoms, second: Atoms, pair: tuple[int, int]) -> bool:
    i, j = pair
    return (_donates(first, i) and _accepts(second, j)) or (
        _donates(second, j) and _accepts(first, i)
    )


def _accepts(atoms: Atoms, index: int) -> bool:
    return int(atoms.numbers[index]) in POLAR


def _donates(atoms: Atoms, index: int) -> bool:
    if atoms.numbers[index] != 1 or len(atoms) == 1:
        return False
    distances = np.linalg.norm(atoms.positions - atoms.positions[index], axis=1)
    distances[index] = np.inf
    return _accepts(atoms, int(distances.argmin()))


def _internal_basis(atoms: Atoms) -> NDArray[np.float64]:
    """Orthonormal basis of all motions but translations and rotations."""
    centered = atoms.positions - atoms.positions.mean(axis=0)
    translations = np.tile(np.eye(3), (len(atoms), 1))
    rotations = np.cross(np.eye(3)[None], centered[:, None]).transpose(0, 2, 1)
    rigid = np.hstack([translations, rotations.reshape(-1, 3)])
    vectors, sizes, _ = np.linalg.svd(rigid)
    return vectors[:, int((sizes > 1e-6 * sizes[0]).sum()) :]
