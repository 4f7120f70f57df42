"""Find the molecules of a periodic structure and put each of them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from equicalc.graph import neighbor_list

from . import errors

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "Fragment",
    "find_fragments",
    "polar_hydrogens",
    "require_crystal",
    "require_one_neutral_species",
]

BONDED = 1.25  # in sums of covalent radii
OVERLAPPING = 0.55
TERMINAL_CARBON = 1.28  # Angstrom: CO, CN and C#C are shorter, a C-C bond is not
BENT = 150.0  # degrees: carbon with two neighbours is linear
PYRAMIDAL = 340.0  # degrees: three bonds of carbon are in a plane
POLAR = (7, 8, 9, 16, 17)  # hydrogen on them is acidic: N O F S Cl
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

    def species(self) -> tuple[object, ...]:
        """Compare equal for equal molecules: elements refined by their neighbours."""
        label: list[object] = self.numbers.tolist()
        for _ in range(4):
            near: list[list[object]] = [[] for _ in label]
            for i, j in self.bonds:
                near[i].append(label[j])
            rich = [(own, tuple(sorted(map(repr, n)))) for own, n in zip(label, near)]
            label = [hash(item) for item in rich]
        return tuple(sorted(zip(self.numbers.tolist(), map(repr, label))))

    def formula(self) -> str:
        """Chemical formula."""
        from ase.formula import Formula

        return str(Formula.from_list(_symbols(self.numbers)).convert("hill"))


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
    partial = [
        f"{site}: {occupation}"
        for site, occupation in atoms.info.get("occupancy", {}).items()
        if len(occupation) != 1 or min(occupation.values()) < 0.999
    ]
    if partial:
        raise errors.PartialOccupancyError(
            f"{len(partial)} sites are disordered (the first one is {partial[0]}); "
            "give one of the ordered structures"
        )


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
    2. A walk along the bonds adds up the shifts: every atom gets the cell that puts it
       beside the atom before.
    3. A bond between atoms that were reached already must close without a shift.

    Examples
    --------
    >>> from ase import Atoms
    >>> split = Atoms("CO", [[0, 0, 0.1], [0, 0, 7]], cell=[5, 5, 8], pbc=True)
    >>> find_fragments(split)[0].positions[:, 2].tolist()
    [0.1, -1.0]
    """
    src, dst, shifts = _bonds(atoms)
    order = np.searchsorted(dst, np.arange(len(atoms) + 1))
    cells = np.zeros((len(atoms), 3), dtype=np.int64)
    owner = np.full(len(atoms), -1)
    found = []
    for start in range(len(atoms)):
        if owner[start] >= 0:
            continue
        owner[start] = start
        stack, members = [start], [start]
        while stack:
            center = stack.pop()
            for edge in range(order[center], order[center + 1]):
                atom, cell = src[edge], cells[center] + shifts[edge]
                if owner[atom] < 0:
                    owner[atom], cells[atom] = start, cell
                    stack.append(atom)
                    members.append(atom)
                elif (cells[atom] != cell).any():
                    raise errors.ExtendedNetworkError(
                        f"atom {atom} ({atoms.symbols[atom]}) is bonded to its own "
                        "periodic image: this is a network or its molecules overlap"
                    )
        found.append(np.sort(members))
    positions = atoms.positions + cells.astype(np.float64) @ atoms.cell.array
    return [_fragment(atoms, members, positions, src, dst) for members in found]


def require_one_neutral_species(fragments: Sequence[Fragment]) -> None:
    """Refuse what is not a crystal of one neutral, complete molecule.

    Raises
    ------
    SaltError, SeveralSpeciesError, MissingHydrogensError
        With the molecules that were found.
    """
    kinds = {fragment.species(): fragment for fragment in fragments}.values()
    formulas = ", ".join(kind.formula() for kind in kinds)
    if any(_is_ion(kind, len(kinds)) for kind in kinds):
        raise errors.SaltError(
            f"ions ({formulas}): only crystals of one neutral molecule can be treated"
        )
    for kind in kinds:
        _require_hydrogens(kind)
    if len(kinds) > 1:
        raise errors.SeveralSpeciesError(
            f"{len(kinds)} kinds of molecules ({formulas}): only crystals of one kind "
            "can be treated"
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


def _fragment(
    atoms: Atoms,
    members: NDArray[np.int64],
    positions: NDArray[np.float64],
    src: NDArray[np.int64],
    dst: NDArray[np.int64],
) -> Fragment:
    inside = np.isin(dst, members)
    bonds = np.searchsorted(members, np.stack([dst[inside], src[inside]], axis=1))
    numbers = atoms.numbers[members].astype(np.int64)
    return Fragment(members, numbers, positions[members], bonds)


def _is_ion(fragment: Fragment, n_kinds: int) -> bool:
    """Single atoms, and one of several kinds with an odd number of protons."""
    if len(fragment.numbers) == 1:
        return fragment.numbers[0] not in NOBLE_GASES
    return n_kinds > 1 and bool(fragment.numbers.sum() % 2)


def _require_hydrogens(fragment: Fragment) -> None:
    open_valence = next(_open_carbons(fragment), None)
    if open_valence is not None:
        raise errors.MissingHydrogensError(
            f"hydrogen is missing at atom {fragment.indices[open_valence]} (C) of "
            f"{fragment.formula()}; add hydrogens to the file"
        )
    if 6 in fragment.numbers and fragment.numbers.sum() % 2:
        raise errors.MissingHydrogensError(
            f"{fragment.formula()} has an odd number of electrons: a hydrogen is "
            "missing, or it is a radical or an ion"
        )


def _open_carbons(fragment: Fragment) -> Iterator[int]:
    """Carbon atoms with fewer neighbours than their shape asks for."""
    for atom in np.flatnonzero(fragment.numbers == 6):
        near = fragment.bonds[fragment.bonds[:, 0] == atom, 1]
        arms = fragment.positions[near] - fragment.positions[atom]
        lengths = np.linalg.norm(arms, axis=1)
        if len(near) == 1 and lengths[0] > TERMINAL_CARBON:
            yield int(atom)
        if len(near) in (2, 3):
            cosines = (arms / lengths[:, None]) @ (arms / lengths[:, None]).T
            upper = cosines[np.triu_indices(len(near), k=1)]
            angles = np.degrees(np.arccos(np.clip(upper, -1, 1)))
            if angles.sum() < (BENT if len(near) == 2 else PYRAMIDAL):
                yield int(atom)


def _symbols(numbers: NDArray[np.int64]) -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[number] for number in numbers]
