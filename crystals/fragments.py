"""Find the molecules of a periodic structure and put each of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from equicalc.data.bonds import BONDED
from equicalc.graph import neighbor_list

from . import errors
from .rows import starts

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "Fragment",
    "find_fragments",
    "polar_hydrogens",
    "require_crystal",
    "require_neutral",
    "require_one_neutral_species",
]

OVERLAPPING = 0.55  # in sums of covalent radii
TERMINAL_CARBON = 1.28  # Angstrom: CO, CN and C#C are shorter, a C-C bond is not
TERMINAL_NITROGEN = 1.25  # N2 and C#N are shorter, C=N and C-N of C-NH2 are not
SINGLE_NITROGEN = 1.41  # nitrogen with two neighbours has a double bond, C=N or C:N
TERMINAL_OXYGEN = 1.33  # C=O and carboxylates are shorter, C-OH is not
BENT = 150.0  # degrees: carbon with two neighbours is linear
PYRAMIDAL = 340.0  # degrees: three bonds of carbon are in a plane
POLAR = (7, 8, 9, 16, 17)  # hydrogen on them is acidic: N O F S Cl
CHARGED = 0.5  # e; partial charges of a file add up to zero only so well
ROUNDS = 4  # of telling atoms apart by their neighbours
NOBLE_GASES = (2, 10, 18, 36, 54, 86)


@dataclass(frozen=True)
class Fragment:
    """A molecule of a crystal, in one piece.

    Attributes
    ----------
    indices : (n,)
        Its atoms in the structure, ascending.
    numbers : (n,)
    positions : (n, 3), Angstrom
        Not wrapped into the cell.
    bonds : (n_bonds, 2)
        Both directions of each, as places in `indices`.
    """

    indices: NDArray[np.int64]
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    bonds: NDArray[np.int64]

    def formula(self) -> str:
        """Chemical formula."""
        from ase.symbols import Symbols

        return Symbols(self.numbers).get_chemical_formula()


def require_crystal(atoms: Atoms) -> None:
    """Refuse what is not an ordered crystal with finite positions.

    Raises
    ------
    CrystalError
        Of the kind that says what is wrong.
    """
    if len(atoms) == 0:
        raise errors.EmptyStructureError("there are no atoms")
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise errors.NotPeriodicError(
            f"pbc is {atoms.pbc.tolist()} and the cell has rank {atoms.cell.rank}: a "
            "crystal is periodic in three directions"
        )
    dummies = np.flatnonzero(atoms.numbers < 1)
    if dummies.size:
        raise errors.UnknownElementError(
            f"atom {dummies[0]} is a dummy, not an element"
        )
    if not np.isfinite(atoms.positions).all():
        raise errors.CrystalError("positions are not finite")
    partial = disordered_sites(atoms)
    if partial:
        raise errors.PartialOccupancyError(
            f"{len(partial)} sites are disordered (the first one is {partial[0]}); "
            "give one of the ordered structures"
        )


def disordered_sites(atoms: Atoms) -> list[str]:
    """Sites of a structure from a CIF that an atom is not always at, and what is."""
    sites = atoms.info.get("occupancy")
    return [
        f"{site}: {occupation}"
        for site, occupation in (sites.items() if isinstance(sites, dict) else ())
        if len(occupation) != 1 or min(occupation.values()) < 0.999
    ]


def find_fragments(atoms: Atoms) -> list[Fragment]:
    """Find the molecules of a crystal and unwrap them across its boundaries.

    Parameters
    ----------
    atoms
        Periodic; atoms nearer than 1.25 sums of their covalent radii are bonded.

    Returns
    -------
    list of Fragment
        In the order of their first atoms.

    Raises
    ------
    AtomsOverlapError
        If two atoms are nearer than any bond.
    ExtendedNetworkError
        If a molecule is bonded to its own periodic image.

    Notes
    -----
    1. Bonds are found through the periodic boundaries, each with its lattice shift.
    2. Walks along the bonds, of all molecules at a time, add up the shifts: every atom
       gets the cell that puts it beside the atom before.
    3. A bond between atoms that were reached already must close without a shift.

    Examples
    --------
    >>> from ase import Atoms
    >>> split = Atoms("CO", [[0, 0, 0.1], [0, 0, 7]], cell=[5, 5, 8], pbc=True)
    >>> find_fragments(split)[0].positions[:, 2].tolist()
    [0.1, -1.0]
    """
    # 1
    src, dst, shifts = _bonds(atoms)
    n = len(atoms)
    owner = _molecules(n, src, dst)
    order = np.argsort(owner, kind="stable")
    first = np.searchsorted(owner[order], np.arange(int(owner.max()) + 1))
    # 2
    cells = _walked(order[first], src, dst, shifts)
    # 3
    open_ = np.flatnonzero((cells[src] != cells[dst] + shifts).any(axis=1))
    if open_.size:
        atom = src[open_[0]]
        raise errors.ExtendedNetworkError(
            f"atom {atom} ({atoms.symbols[atom]}) is bonded to its own periodic image: "
            "this is a network or its molecules overlap"
        )
    positions = atoms.positions + cells.astype(np.float64) @ atoms.cell.array
    place = np.empty(n, dtype=np.int64)  # of each atom in its molecule
    place[order] = np.arange(n) - first[owner[order]]
    by_owner = np.argsort(owner[dst], kind="stable")
    pairs = np.stack([place[dst], place[src]], axis=1)[by_owner]
    ends = np.searchsorted(owner[dst][by_owner], np.arange(1, len(first)))
    return [
        Fragment(rows, atoms.numbers[rows].astype(np.int64), positions[rows], bonded)
        for rows, bonded in zip(np.split(order, first[1:]), np.split(pairs, ends))
    ]


def require_one_neutral_species(fragments: Sequence[Fragment]) -> None:
    """Refuse what is not a crystal of one neutral, complete molecule.

    Raises
    ------
    SaltError, SeveralSpeciesError, MissingHydrogensError
        With the molecules that were found.
    """
    kinds = _kinds(fragments)
    if any(_is_ion(kind, len(kinds)) for kind in kinds):
        raise errors.SaltError(
            f"ions ({_formulas(kinds)}): only crystals of one neutral molecule can be "
            "treated"
        )
    for kind in kinds:
        _require_hydrogens(kind)
    if len(kinds) > 1:
        raise errors.SeveralSpeciesError(
            f"{len(kinds)} kinds of molecules ({_formulas(kinds)}): only crystals of "
            "one kind can be treated"
        )


def require_neutral(atoms: Atoms) -> None:
    """Refuse a structure whose ``info`` or initial charges say that it is charged.

    Raises
    ------
    SaltError
        With the charge.
    """
    charge = atoms.info.get("charge", atoms.get_initial_charges().sum())
    if isinstance(charge, int | float | np.integer) and abs(charge) > CHARGED:
        raise errors.SaltError(
            f"{atoms.info.get('smiles', atoms.get_chemical_formula())} has the charge "
            f"{float(charge):+g}: only crystals of neutral molecules can be treated"
        )


def polar_hydrogens(molecule: Atoms) -> NDArray[np.bool_]:
    """Tell which atoms of a molecule are hydrogens with N, O, F, S or Cl nearest."""
    hydrogen = molecule.numbers == 1
    if len(molecule) == 1:
        return hydrogen & False
    apart = np.linalg.norm(molecule.positions[:, None] - molecule.positions, axis=-1)
    np.fill_diagonal(apart, np.inf)
    return hydrogen & np.isin(molecule.numbers[apart.argmin(axis=1)], POLAR)


def _bonds(atoms: Atoms) -> tuple[NDArray[np.int64], ...]:
    from ase.data import covalent_radii

    radii = covalent_radii[atoms.numbers]
    reach = 2 * BONDED * radii.max()
    src, dst, shifts = neighbor_list(
        atoms.positions, atoms.cell.array, atoms.pbc, float(reach)
    )
    vectors = atoms.positions[src] + shifts @ atoms.cell.array - atoms.positions[dst]
    relative = np.linalg.norm(vectors, axis=1) / (radii[src] + radii[dst])
    near = np.flatnonzero(relative < OVERLAPPING)
    if near.size:
        i, j = src[near[0]], dst[near[0]]
        length = np.linalg.norm(vectors[near[0]])
        raise errors.AtomsOverlapError(
            f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) are only "
            f"{length:.2f} Angstrom apart"
        )
    bonded = relative < BONDED
    return src[bonded], dst[bonded], shifts[bonded]


def _molecules(
    n: int, src: NDArray[np.int64], dst: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Give the number of the molecule of each of n atoms, by their first atoms.

    Each atom is told the first atom that its neighbours know of, and what that one
    knows, until nothing is new.
    """
    first = np.arange(n)
    while True:
        known = first.copy()
        np.minimum.at(known, dst, first[src])
        known = np.minimum(known, known[known])
        if (known == first).all():
            return np.unique(first, return_inverse=True)[1]
        first = known


def _walked(
    roots: NDArray[np.int64],
    src: NDArray[np.int64],
    dst: NDArray[np.int64],
    shifts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Cells (n_atoms, 3) that put all atoms beside those before, from the roots on."""
    n = max(roots.max(initial=-1), src.max(initial=-1)) + 1
    cells, reached = np.zeros((n, 3), dtype=np.int64), np.zeros(n, dtype=bool)
    reached[roots] = True
    while True:
        steps = np.flatnonzero(reached[dst] & ~reached[src])
        if not steps.size:
            return cells
        cells[src[steps]] = cells[dst[steps]] + shifts[steps]
        reached[src[steps]] = True


def _kinds(fragments: Sequence[Fragment]) -> list[Fragment]:
    """One of each kind of molecules: by their elements, refined by their neighbours."""
    sizes = np.array([len(fragment.numbers) for fragment in fragments])
    begin = starts(sizes)
    center, near = np.concatenate(
        [one.bonds + start for one, start in zip(fragments, begin)]
    ).T
    label = _mixed(np.concatenate([one.numbers for one in fragments]).astype(np.uint64))
    for _ in range(ROUNDS):
        around = np.zeros_like(label)
        np.add.at(around, center, label[near])
        label = _mixed(label + _mixed(around))
    _, first = np.unique(np.add.reduceat(label, begin), return_index=True)
    return [fragments[index] for index in np.sort(first)]


def _mixed(labels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter integers over all of 64 bits, equal ones alike (splitmix64)."""
    labels = labels + np.uint64(0x9E3779B97F4A7C15)
    labels = (labels ^ (labels >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    labels = (labels ^ (labels >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return labels ^ (labels >> np.uint64(31))


def _formulas(kinds: Sequence[Fragment]) -> str:
    return ", ".join(kind.formula() for kind in kinds)


def _is_ion(fragment: Fragment, n_kinds: int) -> bool:
    """Single atoms, and one of several kinds with an odd number of protons."""
    if len(fragment.numbers) == 1:
        return fragment.numbers[0] not in NOBLE_GASES
    return n_kinds > 1 and bool(fragment.numbers.sum() % 2)


def _require_hydrogens(fragment: Fragment) -> None:
    for symbol, find in (("C", _open_carbons), ("N or O", _open_others)):
        if (open_valences := find(fragment)).size:
            raise errors.MissingHydrogensError(
                f"hydrogen is missing at atom {fragment.indices[open_valences[0]]} "
                f"({symbol}) of {fragment.formula()}; add hydrogens to the file"
            )
    if 6 in fragment.numbers and fragment.numbers.sum() % 2:
        raise errors.MissingHydrogensError(
            f"{fragment.formula()} has an odd number of electrons: a hydrogen is "
            "missing, or it is a radical or an ion"
        )


def _open_carbons(fragment: Fragment) -> NDArray[np.int64]:
    """Carbon atoms with fewer neighbours than their shape asks for, ascending."""
    center, near = fragment.bonds.T
    arms = fragment.positions[near] - fragment.positions[center]
    lengths = np.linalg.norm(arms, axis=1)
    first = np.searchsorted(center, np.arange(len(fragment.numbers) + 1))
    degree = np.where(fragment.numbers == 6, np.diff(first), 0)
    ends = np.flatnonzero(degree == 1)
    found = [ends[lengths[first[ends]] > TERMINAL_CARBON]]
    for n, least, i, j in ((2, BENT, [0], [1]), (3, PYRAMIDAL, [0, 0, 1], [1, 2, 2])):
        atoms = np.flatnonzero(degree == n)
        rows = first[atoms, None] + np.arange(n)
        units = arms[rows] / lengths[rows, None]  # (n_atoms, n, 3)
        cosines = np.einsum("aik,aik->ai", units[:, i], units[:, j])
        angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
        found.append(atoms[angles.sum(axis=1) < least])
    return np.sort(np.concatenate(found))


def _open_others(fragment: Fragment) -> NDArray[np.int64]:
    """Nitrogen and oxygen atoms with bonds to carbon too long for a double bond.

    Only of those that lack hydrogen for certain: an amide with two carbon atoms on its
    nitrogen, or a carboxylic acid, is not told by its bonds.
    """
    center, near = fragment.bonds.T
    numbers = fragment.numbers
    lengths = np.linalg.norm(
        fragment.positions[near] - fragment.positions[center], axis=1
    )
    shortest = np.full(len(numbers), np.inf)
    np.minimum.at(shortest, center, lengths)
    degree = np.bincount(center, minlength=len(numbers))
    others = np.bincount(center[numbers[near] != 6], minlength=len(numbers)) > 0
    nitrogen, oxygen = numbers == 7, numbers == 8
    lacking = np.select(
        [nitrogen & (degree == 1), nitrogen & (degree == 2), oxygen & (degree == 1)],
        [
            shortest > TERMINAL_NITROGEN,
            shortest > SINGLE_NITROGEN,
            shortest > TERMINAL_OXYGEN,
        ],
        default=False,
    )
    return np.flatnonzero(lacking & ~others)
