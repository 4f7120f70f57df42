"""Random crystals of a molecule: sampled, packed by a pair potential, filtered."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equicalc.graph import neighbor_list
from equicalc.units import KJ_PER_MOL

from .crystal import MolecularCrystal
from .errors import (
    CrystalError,
    EmptyStructureError,
    RadicalError,
    SeveralSpeciesError,
)
from .fragments import find_fragments, require_neutral
from .minimise import BatchedBFGS
from .pairwise import energy_per_molecule
from .potentials import LennardJones, PairPotential
from .rigid import REACH, RigidCrystals
from .symmetry import operations

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["random_crystals", "random_starts"]

logger = logging.getLogger(__name__)

LENGTH_SPREAD = 0.25  # of the logarithm of cell lengths
SKEW_SPREAD = 0.2  # of off-diagonal cell entries, in typical lengths
START_CONTACT = 0.8  # in sums of van der Waals radii
GROWTH = 1.12
GROWTHS = 10
BLOCK = 15  # steps from one look at the neighbours to the next
BLOCKS = 12
EARLY_BLOCKS = 3
EARLY_REACH = 5.0  # Angstrom: the first steps need no distant neighbours
SETTLED = 5e-4  # eV that a crystal gains in its last block
BATCH = 128
TRIES = 20  # crystals tried for each one asked for
SAME_ENERGY = 0.05 * KJ_PER_MOL
SAME_DISTANCE = 0.05  # Angstrom
COORDINATION = 12


def random_crystals(
    molecule: str | Atoms,
    spacegroup: int,
    n: int,
    seed: int = 0,
    *,
    potential: PairPotential | None = None,
    packing: float = 0.6,
    min_packing: float = 0.5,
    min_contact: float = 0.75,
    progress: Callable[[list[MolecularCrystal]], None] | None = None,
) -> list[MolecularCrystal]:
    """Make random crystals with one molecule in the asymmetric unit.

    Parameters
    ----------
    molecule
        SMILES, or a structure that stays rigid.
    spacegroup
        1 to 230.
    n
        How many; fewer come back, or none, if too many tries fail.
    seed
        The same seed gives the same crystals.
    potential
        What packs; by default `LennardJones`.
    packing
        Share of the volume that molecules fill at the start, before cells whose
        molecules overlap are widened.
    min_packing
        Crystals that end with a smaller share are thrown away.
    min_contact
        And those with a closer contact, in sums of van der Waals radii.
    progress
        Called with the crystals so far, in the same order.

    Returns
    -------
    list of MolecularCrystal
        By energy, the lowest first. ``info`` has the ``pair_energy`` (eV per
        molecule), the ``packing`` and the ``contact``.

    Raises
    ------
    ValueError
        If the SMILES, the group or a number makes no sense, or the structure is not
        one neutral molecule with paired electrons.

    Notes
    -----
    1. Lengths of the cell are log-normal, angles normal as far as the lattice system
       leaves them free; orientation and centroid are uniform.
    2. Cells grow until no molecules overlap.
    3. Cell, centroid and orientation relax together, many crystals at a time.
    4. Loose, clashing and repeated ones are thrown away.

    Examples
    --------
    >>> energies = [c.info["pair_energy"] for c in random_crystals("O", 1, n=2)]
    >>> len(energies), energies == sorted(energies)
    (2, True)
    """
    if n < 1:
        raise ValueError(f"n = {n} crystals are asked for; at least 1 is needed")
    if not 0 < packing < 1:
        raise ValueError(f"packing is {packing}; give a number between 0 and 1")
    rigid = _structure(molecule, seed)
    spacegroup = operator.index(spacegroup)
    operations(spacegroup)  # refuses groups that do not exist
    potential = potential or LennardJones()
    rng = np.random.default_rng(seed)
    found: list[MolecularCrystal] = []
    prints: list[NDArray[np.float64]] = []
    tried = 0
    while len(found) < n and tried < TRIES * n:
        share = (len(found) + 7) / (tried + 10)  # of the tries that went well
        size = min(BATCH, max(8, round((n - len(found)) / share)))
        tried += size
        crystals, x = random_starts(rigid, spacegroup, potential, size, packing, rng)
        crystals, x = _packed(crystals, x)
        if not len(x):
            continue
        crystals.refresh(x)
        shares = crystals.volume / torch.linalg.det(crystals.cells(x))
        contacts = crystals.contacts(x)
        good = (shares > min_packing) & (shares < 1) & (contacts > min_contact)
        for row in torch.nonzero(good).squeeze(1).tolist():
            crystal = _crystal(rigid, crystals, x, row, potential)
            mark = _fingerprint(crystal)
            if len(found) < n and not any(_same(mark, other) for other in prints):
                found.append(crystal)
                prints.append(mark)
        if progress is not None:
            progress(_by_energy(found))
    note = logger.info if len(found) == n else logger.warning
    note("%d crystals of %d asked for, %d tried", len(found), n, tried)
    return _by_energy(found)


def _by_energy(found: list[MolecularCrystal]) -> list[MolecularCrystal]:
    return sorted(found, key=lambda crystal: crystal.info["pair_energy"])


def _structure(molecule: str | Atoms, seed: int) -> Atoms:
    """Single molecule around the origin."""
    from equicalc.data.smiles import atoms_from_smiles

    rigid = (
        atoms_from_smiles(molecule, seed)
        if isinstance(molecule, str)
        else molecule.copy()
    )
    _require_molecule(rigid, molecule)
    require_neutral(rigid)
    _require_closed_shell(rigid)
    rigid.positions -= rigid.positions.mean(axis=0)
    rigid.cell = None
    return rigid


def _require_molecule(atoms: Atoms, given: str | Atoms) -> None:
    """Refuse what is not one molecule in empty space.

    Molecules of one SMILES may lie on top of each other: its dots count.
    """
    if len(atoms) == 0:
        raise EmptyStructureError("there are no atoms")
    if atoms.pbc.any():
        raise CrystalError(
            f"the molecule is periodic along {atoms.pbc.tolist()}: give a molecule in "
            "empty space, atoms.pbc = False"
        )
    smiles = given if isinstance(given, str) else str(atoms.info.get("smiles", ""))
    pieces = smiles.split(".")
    if len(pieces) == 1:
        pieces = [piece.formula() for piece in find_fragments(atoms)]
    if len(pieces) > 1:
        raise SeveralSpeciesError(
            f"{len(pieces)} molecules are given ({', '.join(pieces)}), and crystals of "
            "one are made"
        )


def _require_closed_shell(atoms: Atoms) -> None:
    """Refuse molecules with unpaired electrons: crystals of them do not last."""
    electrons = int(atoms.numbers.sum()) - round(atoms.info.get("charge") or 0)
    moment = round(abs(atoms.get_initial_magnetic_moments().sum()))
    unpaired = max((atoms.info.get("spin") or 1) - 1, moment, electrons % 2)
    if unpaired:
        raise RadicalError(
            f"{atoms.info.get('smiles', atoms.get_chemical_formula())} has {unpaired} "
            "unpaired electron(s): a hydrogen is missing, or it is a radical; crystals "
            "of closed shells are made"
        )


def random_starts(
    molecule: Atoms,
    spacegroup: int,
    potential: PairPotential,
    n: int,
    packing: float,
    rng: np.random.Generator,
) -> tuple[RigidCrystals, Tensor]:
    """Sample crystals and widen those with overlaps; some may stay out.

    Parameters
    ----------
    molecule
        Around the origin.
    spacegroup
        1 to 230.
    potential
        Of the crystals that come back.
    n
        How many are sampled.
    packing
        Share of the volume that molecules fill before cells are widened.
    rng

    Returns
    -------
    crystals, x : (n_crystals, d)
        The crystals, and the numbers that describe them.
    """
    from scipy.spatial.transform import Rotation

    turns = torch.as_tensor(Rotation.random(n, rng=rng).as_matrix())
    crystals = RigidCrystals(molecule, spacegroup, potential, turns)
    basis = crystals.basis.numpy()
    lengths = np.exp(rng.normal(scale=LENGTH_SPREAD, size=(n, len(basis))))
    skews = rng.normal(scale=SKEW_SPREAD, size=(n, len(basis)))
    is_length = np.trace(basis, axis1=1, axis2=2) > 0
    entries = np.where(is_length, lengths, skews)
    volumes = np.linalg.det(np.einsum("bp,pij->bij", entries, basis))
    entries *= np.cbrt(crystals.volume / packing / volumes)[:, None]
    centroids = crystals.edge * rng.uniform(size=(n, 3))
    x = torch.as_tensor(
        np.concatenate([entries, centroids, np.zeros((n, 3))], axis=1),
        dtype=torch.float32,
    )
    close = torch.ones(n, dtype=torch.bool)
    for _ in range(GROWTHS):
        part = crystals.keep(close)
        part.refresh(x[close], EARLY_REACH)
        still = part.contacts(x[close]) < START_CONTACT
        close[close.clone()] = still
        if not close.any():
            break
        x[close, : crystals.n_cell] *= GROWTH
    return crystals.keep(~close), x[~close]


def _packed(crystals: RigidCrystals, x: Tensor) -> tuple[RigidCrystals, Tensor]:
    """Relax; those that settle leave the batch, the others get out of time."""
    search, left = BatchedBFGS(x), torch.arange(len(x))
    ended = torch.zeros(len(x), dtype=torch.bool)
    final = x.clone()
    moving = crystals
    for block in range(BLOCKS):
        if not len(left):
            break
        early = block < EARLY_BLOCKS
        search.x = moving.inside(search.x)
        moving.refresh(search.x, EARLY_REACH if early else REACH)
        search.evaluate(moving)
        before = search.value
        for _ in range(BLOCK):
            search.step(moving)
        settled = (before - search.value < SETTLED) & (not early)
        final[left[settled]] = search.x[settled]
        ended[left[settled]] = True
        search, moving = search.keep(~settled), moving.keep(~settled)
        left = left[~settled]
    return crystals.keep(ended), final[ended]


def _crystal(
    molecule: Atoms,
    crystals: RigidCrystals,
    x: Tensor,
    row: int,
    potential: PairPotential,
) -> MolecularCrystal:
    """Crystal of one row, in double precision from the cell on."""
    one = x[row : row + 1]
    basis = crystals.basis.double()
    cell = torch.einsum("p,pij->ij", one[0, : crystals.n_cell].double(), basis).numpy()
    centroid = crystals.centroids(one)[0].double().numpy()
    posed = molecule.copy()
    turned = _superposed(molecule, crystals.keep(torch.tensor([row])).poses(one)[0])
    posed.positions = turned + (centroid - np.floor(centroid)) @ cell
    group = crystals.spacegroup
    packed = MolecularCrystal(cell, group, operations(group), (posed,))
    packed.info.update(
        pair_energy=energy_per_molecule(packed, potential),
        packing=float(crystals.volume / packed.volume),
        contact=packed.contact,
    )
    return packed


def _superposed(molecule: Atoms, pose: Tensor) -> NDArray[np.float64]:
    """Turn the molecule onto a pose that is known in single precision only."""
    u, _, v = np.linalg.svd(molecule.positions.T @ pose.double().numpy())
    mirror = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    return molecule.positions @ u @ mirror @ v


def _fingerprint(crystal: MolecularCrystal) -> NDArray[np.float64]:
    """Energy (eV) and the distances to the nearest centroids (Angstrom)."""
    centroids = crystal.unit_cell[0].mean(axis=1)
    reach = 3.0 * (crystal.volume / crystal.n_molecules) ** (1 / 3)
    src, dst, shifts = neighbor_list(centroids, crystal.cell, (True,) * 3, reach)
    vectors = centroids[src] + shifts @ crystal.cell - centroids[dst]
    distances = np.sort(np.linalg.norm(vectors[dst == 0], axis=1))
    return np.append(crystal.info["pair_energy"], distances[:COORDINATION])


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    size = min(len(one), len(other))
    apart = np.abs(one[:size] - other[:size])
    return bool(apart[0] < SAME_ENERGY and (apart[1:] < SAME_DISTANCE).all())
