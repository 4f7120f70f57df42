"""The plan of a run: which molecules, pairs and clusters, in which order."""

from __future__ import annotations

import itertools
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import numpy as np
from ase import Atoms

from equicalc.data.smiles import (
    SMILES_SUFFIXES,
    canonical,
    composition,
    fragments,
    heavy_atoms,
    read_smiles,
)

from .options import LabelOptions, Source
from .sampling import Unit

logger = logging.getLogger(__name__)

N_GROUPS = 200
CORE_GROUP = 0
PARTNER_HEAVY_ATOMS = 7
DIMER_HEAVY_ATOMS = 10
WATER = "O"


@dataclass(frozen=True)
class Molecule:
    """A molecule of the pool."""

    structure: str | Atoms
    heavy_atoms: int
    frames: int
    group: int


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
            digest.update(repr((unit.kind, unit.name, unit.frames, positions)).encode())
        return digest.hexdigest()


def make_plan(options: LabelOptions) -> Plan:
    """Read the sources and lay out all work.

    Groups: a molecule's group is a hash of its connectivity, so that stereoisomers
    and conformers share it; a pair or cluster has the group of its members, which
    are drawn from one group and from group 0 only. A split by group therefore never
    shares a molecule other than the core molecules of group 0.

    Raises
    ------
    ValueError
        If a source cannot be read or no molecule is left.
    """
    rng = np.random.default_rng(np.random.SeedSequence((options.seed,)))
    pool, rejected = _pool(options, rng)
    if not pool:
        reasons = "; ".join(f"{r.name}: {r.reason}" for r in rejected[:3])
        raise ValueError(f"no molecule is left to label ({reasons})")
    work = [("molecule", (m.structure,), m.frames, m.group) for m in pool]
    work += _pairs(pool, options, rng)
    work += _clusters(pool, options, rng)
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
    if path.suffix in SMILES_SUFFIXES:
        found = read_smiles(path)
    else:
        found = _read_structures(path)
    if source.fragments:
        texts = (text for text in found if isinstance(text, str))
        found = fragments(texts, options.max_heavy_atoms)
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


def _read_structures(path: Path) -> list[Atoms]:
    from ase.io import read

    try:
        found = read(path, index=":")
    except Exception as error:  # ASE's readers raise whatever they meet
        raise ValueError(f"cannot read structures from {path}: {error}") from error
    return found if isinstance(found, list) else [found]


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
        if charge or unpaired:
            raise ValueError(f"charge {charge:+d}, {unpaired} unpaired electrons")
    else:
        if structure.pbc.any():
            raise ValueError("periodic structures cannot be labelled")
        elements = frozenset(structure.get_chemical_symbols())
        heavy = int((structure.numbers > 1).sum())
        key = structure.get_chemical_formula()
        structure = Atoms(structure.numbers, structure.positions)
        identity = repr((key, structure.positions.tolist()))
    if unknown := elements - set(options.elements):
        raise ValueError(f"elements {', '.join(sorted(unknown))} are not asked for")
    if heavy > options.max_heavy_atoms:
        raise ValueError(f"{heavy} heavy atoms, more than {options.max_heavy_atoms}")
    if identity in seen:
        return None
    seen.add(identity)
    group = CORE_GROUP if source.core else 1 + crc32(key.encode()) % (N_GROUPS - 1)
    return Molecule(structure, heavy, source.frames, group)


def _pairs(
    pool: list[Molecule], options: LabelOptions, rng: np.random.Generator
) -> list[tuple]:
    small = [m for m in pool if m.heavy_atoms <= PARTNER_HEAVY_ATOMS]
    groups = _by_group(small)
    core = groups.get(CORE_GROUP, [])
    pairs = []
    while small and len(pairs) < options.dimers:
        first = _draw(core if core and rng.random() < 0.35 else small, rng)
        partners = core if core and rng.random() < 0.5 else groups[first.group]
        second = _draw(partners, rng)
        if first.heavy_atoms + second.heavy_atoms <= DIMER_HEAVY_ATOMS:
            members = (first.structure, second.structure)
            group = max(first.group, second.group)
            pairs.append(("dimer", members, options.dimer_frames, group))
    return pairs


def _clusters(
    pool: list[Molecule], options: LabelOptions, rng: np.random.Generator
) -> list[tuple]:
    small = [m for m in pool if m.heavy_atoms <= 4]
    groups = _by_group(small)
    core = groups.get(CORE_GROUP, [])
    clusters = []
    while small and len(clusters) < options.clusters:
        first = _draw(core if core and rng.random() < 0.5 else small, rng)
        partners = core or groups[first.group]
        water = [m for m in partners if m.structure == WATER]
        aqueous = bool(water) and rng.random() < 0.5
        others = [
            _draw(water if aqueous and rng.random() < 0.7 else partners, rng)
            for _ in range(rng.integers(2, 5))
        ]
        if first.heavy_atoms + sum(m.heavy_atoms for m in others) <= DIMER_HEAVY_ATOMS:
            members = tuple(m.structure for m in (first, *others))
            clusters.append(("cluster", members, options.cluster_frames, first.group))
    return clusters


def _elements(options: LabelOptions) -> list[tuple]:
    work: list[tuple] = []
    if options.single_atoms:
        work.append(("atom", options.elements, len(options.elements), CORE_GROUP))
    if options.diatomics:
        pairs = itertools.combinations_with_replacement(options.elements, 2)
        work += [("diatomic", p, options.diatomics, CORE_GROUP) for p in pairs]
    return work


def _by_group(pool: list[Molecule]) -> dict[int, list[Molecule]]:
    groups: dict[int, list[Molecule]] = defaultdict(list)
    for molecule in pool:
        groups[molecule.group].append(molecule)
    return groups


def _draw(pool: list[Molecule], rng: np.random.Generator) -> Molecule:
    return pool[rng.integers(len(pool))]
