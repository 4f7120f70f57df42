"""The plan of a run: which molecules, pairs and clusters, in which order."""

from __future__ import annotations

import itertools
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError

from equicalc.calculators.states import TOLERANCE, electronic_state
from equicalc.data.bonds import molecule_with_bonds
from equicalc.data.readers import read_structures
from equicalc.data.smiles import (
    canonical,
    composition,
    fragments,
    heavy_atoms,
    is_smiles_file,
    read_smiles,
)

from .options import LabelOptions, Source
from .sampling import Unit

logger = logging.getLogger(__name__)

N_GROUPS = 200
CORE_GROUP = 0
ATTEMPTS = 1000  # draws for each pair or cluster that is asked for
WATER = "O"


@dataclass(frozen=True)
class Molecule:
    """A molecule of the pool."""

    structure: str | Atoms
    heavy_atoms: int
    frames: int
    group: int


Groups = dict[int, list[Molecule]]


@dataclass(frozen=True)
class Rejected:
    """A molecule that was left out of the plan and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """Units of work in shuffled order, so that any first part represents the whole."""

    units: tuple[Unit, ...]
    rejected: tuple[Rejected, ...]

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the structures."""
        digest = sha256()
        for unit in self.units:
            positions = [m.positions for m in unit.members if isinstance(m, Atoms)]
            exact = [one.tolist() for one in positions]
            digest.update(repr((unit.kind, unit.name, unit.frames, exact)).encode())
        return digest.hexdigest()

    @property
    def groups(self) -> str:
        """Hash of the groups, which decide no structure."""
        return sha256(repr([unit.group for unit in self.units]).encode()).hexdigest()


def make_plan(options: LabelOptions) -> Plan:
    """Read the sources and lay out all work.

    Groups: a molecule's group is a hash of its connectivity (of the formula, if the
    bonds of a structure are not recognised), so that stereoisomers and conformers share
    it; a pair or cluster has the group of its members, which
    are drawn from one group and from group 0 only. A split by group therefore never
    shares a molecule other than the core molecules of group 0.

    Raises
    ------
    ValueError
        If a source cannot be read, no molecule is left, or the molecules are too
        large for the pairs or clusters that are asked for.
    """
    rng = np.random.default_rng(np.random.SeedSequence((options.seed,)))
    pool, rejected = _pool(options, rng)
    if not pool:
        reasons = "; ".join(f"{r.name}: {r.reason}" for r in rejected[:3])
        raise ValueError(f"no molecule is left to label ({reasons})")
    work = [("molecule", (m.structure,), m.frames, m.group) for m in pool]
    work += _complexes("dimer", pool, options.dimers, options.dimer_frames, rng)
    work += _complexes("cluster", pool, options.clusters, options.cluster_frames, rng)
    work += _complexes("crowd", pool, options.crowds, options.crowd_frames, rng)
    work += _elements(options)
    order = rng.permutation(len(work))
    units = tuple(Unit(index, *work[place]) for index, place in enumerate(order))
    return Plan(units, tuple(rejected))


def _pool(
    options: LabelOptions, rng: np.random.Generator
) -> tuple[list[Molecule], list[Rejected]]:
    pool: list[Molecule] = []
    rejected: list[Rejected] = []
    seen: set[str] = set()
    for source in options.sources:
        for structure in _read(source, options, rng):
            try:
                molecule = _checked(structure, source, options, seen)
            except ValueError as error:
                name = (
                    structure if isinstance(structure, str) else str(structure.symbols)
                )
                rejected.append(Rejected(name, str(error)))
                continue
            if molecule is not None:
                pool.append(molecule)
        logger.info("%s: %d molecules so far", source.path, len(pool))
    return pool, rejected


def _read(
    source: Source, options: LabelOptions, rng: np.random.Generator
) -> Sequence[str | Atoms]:
    path = Path(os.path.expandvars(source.path)).expanduser()
    if is_smiles_file(path):
        found = read_smiles(path)
    else:
        found = list(read_structures(path))
        if source.fragments:
            raise ValueError(f"{path} holds structures: fragments are cut from SMILES")
    if source.fragments:
        found = fragments(map(str, found), options.max_heavy_atoms)
    if (largest := source.max_heavy_atoms) is not None:
        found = [molecule for molecule in found if _n_heavy(molecule) <= largest]
    if source.limit is not None and len(found) > source.limit:
        kept = np.sort(rng.choice(len(found), source.limit, replace=False))
        found = [found[i] for i in kept]
    return found


def _n_heavy(molecule: str | Atoms) -> int:
    if isinstance(molecule, Atoms):
        return int((molecule.numbers > 1).sum())
    try:
        return heavy_atoms(molecule)
    except ValueError:
        return 0  # kept for now: bad SMILES are reported with the others


def _checked(
    structure: str | Atoms, source: Source, options: LabelOptions, seen: set[str]
) -> Molecule | None:
    """Return the molecule, None if it is there already; raise if it is unfit."""
    if isinstance(structure, str):
        elements, heavy, charge, unpaired = composition(structure)
        key, structure = canonical(structure, stereo=False), canonical(structure)
        identity = structure
        if "." in structure:
            raise ValueError("more than one molecule in a SMILES")
    else:
        if structure.pbc.any():
            raise ValueError("periodic structures cannot be labelled")
        charge, unpaired = _electronic_state(structure)
        elements = frozenset(structure.get_chemical_symbols())
        heavy = int((structure.numbers > 1).sum())
        key = _connectivity(structure)
        structure = Atoms(structure.numbers, structure.positions)
        identity = repr((key, structure.positions.tolist()))
    if max(abs(charge), unpaired) > TOLERANCE:
        raise ValueError(f"charge {charge:+g}, {unpaired:g} unpaired electrons")
    if unknown := elements - set(options.elements):
        raise ValueError(f"elements {', '.join(sorted(unknown))} are not asked for")
    if heavy > options.max_heavy_atoms:
        raise ValueError(f"{heavy} heavy atoms, more than {options.max_heavy_atoms}")
    if identity in seen:
        return None
    seen.add(identity)
    group = CORE_GROUP if source.core else 1 + crc32(key.encode()) % (N_GROUPS - 1)
    return Molecule(structure, heavy, source.frames, group)


def _connectivity(structure: Atoms) -> str:
    """SMILES without stereochemistry, or the formula if bonds are not recognised."""
    from rdkit import Chem

    try:
        molecule = Chem.RemoveHs(molecule_with_bonds(structure))
        return canonical(Chem.MolToSmiles(molecule), stereo=False)
    except ValueError:
        return structure.get_chemical_formula()


def _electronic_state(structure: Atoms) -> tuple[float, float]:
    """Charge and unpaired electrons that a file gives its structure."""
    try:
        return electronic_state(structure)
    except InputError as error:
        raise ValueError(str(error)) from error


def _complexes(
    kind: str, pool: list[Molecule], wanted: int, frames: int, rng: np.random.Generator
) -> list[tuple]:
    """Draw pairs or clusters; those with too many heavy atoms are drawn again.

    Raises
    ------
    ValueError
        If hardly any, or none, of what these molecules can form is small enough.
    """
    draw, partner, largest = {
        "dimer": (_pair, 7, 10),
        "cluster": (partial(_cluster, others=(2, 4)), 4, 10),
        "crowd": (partial(_cluster, others=(0, 7)), 7, 16),
    }[kind]
    small = [m for m in pool if m.heavy_atoms <= partner]
    groups = _by_group(small)
    found: list[tuple] = []
    for _ in range(ATTEMPTS * wanted if small else 0):
        members, group = draw(small, groups, rng)
        if sum(m.heavy_atoms for m in members) <= largest:
            structures = tuple(m.structure for m in members)
            found.append((kind, structures, frames, group))
        if len(found) == wanted:
            return found
    if wanted:
        raise ValueError(
            f"{kind}s = {wanted}, but only {len(found)} were found: hardly any {kind} "
            f"of these molecules has {largest} heavy atoms or fewer (at "
            f"most {partner} in each molecule); add smaller molecules, or ask for "
            f"{kind}s = {len(found)}"
        )
    return found


def _pair(
    small: list[Molecule], groups: Groups, rng: np.random.Generator
) -> tuple[tuple[Molecule, ...], int]:
    """Two molecules and the group of the pair."""
    core = groups.get(CORE_GROUP, [])
    first = _draw(core if core and rng.random() < 0.35 else small, rng)
    partners = core if core and rng.random() < 0.5 else groups[first.group]
    second = _draw(partners, rng)
    return (first, second), max(first.group, second.group)


def _cluster(
    small: list[Molecule],
    groups: Groups,
    rng: np.random.Generator,
    others: tuple[int, int],
) -> tuple[tuple[Molecule, ...], int]:
    """Draw a molecule with so many others, often water, and the group of all."""
    core = groups.get(CORE_GROUP, [])
    first = _draw(core if core and rng.random() < 0.5 else small, rng)
    partners = core or groups[first.group]
    water = [m for m in partners if m.structure == WATER]
    aqueous = bool(water) and rng.random() < 0.5
    beside = [
        _draw(water if aqueous and rng.random() < 0.7 else partners, rng)
        for _ in range(rng.integers(others[0], others[1] + 1))
    ]
    return (first, *beside), first.group


def _elements(options: LabelOptions) -> list[tuple]:
    work: list[tuple] = []
    if options.single_atoms:
        work.append(("atom", options.elements, len(options.elements), CORE_GROUP))
    if options.diatomics:
        pairs = itertools.combinations_with_replacement(options.elements, 2)
        work += [("diatomic", p, options.diatomics, CORE_GROUP) for p in pairs]
    return work


def _by_group(pool: list[Molecule]) -> Groups:
    groups: Groups = defaultdict(list)
    for molecule in pool:
        groups[molecule.group].append(molecule)
    return groups


def _draw(pool: list[Molecule], rng: np.random.Generator) -> Molecule:
    return pool[rng.integers(len(pool))]
