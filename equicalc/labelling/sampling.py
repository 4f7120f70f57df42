"""From a unit of work to its structures: which distortions, how many, how hard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator
from ase.md.langevin import Langevin
from ase.optimize import BFGS

from equicalc.data.smiles import conformers
from equicalc.labelling import geometry

KINDS = (
    "conformer",
    "relaxation",
    "normal-mode",
    "langevin",
    "noise",
    "stretched",
    "dimer",
    "cluster",
    "atom",
    "diatomic",
    "crowd",
)
SHARES = {  # of the structures of one molecule
    "conformer": 0.08,
    "relaxation": 0.20,
    "normal-mode": 0.50,
    "langevin": 0.02,
    "noise": 0.06,
    "stretched": 0.14,
}
MODE_TEMPERATURES = (100.0, 300.0, 600.0, 1000.0, 1500.0)  # K
MD_TEMPERATURES = (300.0, 600.0, 1000.0)  # K
MD_STRIDE = 3  # steps between kept frames
HEAVY_HYDROGEN = 4.0  # amu: allows 2 fs steps and samples the same structures
CONFORMERS = 4
SQUEEZED = (0.75, 1.05)  # lengths of a crowd, times those of its loose packing

Frame = tuple[str, Atoms]


@dataclass(frozen=True)
class Unit:
    """A piece of work: one molecule, pair or cluster and how often to distort it.

    Parameters
    ----------
    index
        Place in the plan; with the seed of the run it fixes all random choices.
    kind
        ``"molecule"``, ``"dimer"``, ``"cluster"``, ``"crowd"``, ``"atom"`` or
        ``"diatomic"``.
    members
        SMILES, element symbols or structures.
    frames
        Structures to make.
    group
        Group of all its structures.
    """

    index: int
    kind: str
    members: tuple[str | Atoms, ...]
    frames: int
    group: int

    @property
    def name(self) -> str:
        """What it is made of, for messages."""
        return " + ".join(
            m if isinstance(m, str) else m.get_chemical_formula() for m in self.members
        )


def frames(unit: Unit, calculator: BaseCalculator, seed: int) -> Iterator[Frame]:
    """Structures of a unit, each with its kind; the same seed gives the same ones.

    Raises
    ------
    ValueError
        If a SMILES cannot be embedded.
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, unit.index)))
    make = {
        "molecule": _molecule_frames,
        "dimer": _dimer_frames,
        "cluster": _cluster_frames,
        "crowd": _crowd_frames,
        "atom": _atom_frames,
        "diatomic": _diatomic_frames,
    }[unit.kind]
    return make(unit, calculator, rng)


def _molecule_frames(
    unit: Unit, calculator: BaseCalculator, rng: np.random.Generator
) -> Iterator[Frame]:
    starts = _starts(unit.members[0], min(CONFORMERS, 1 + unit.frames // 4), rng)
    counts = rng.multinomial(unit.frames, list(SHARES.values()))
    for kind, count in zip(SHARES, counts, strict=True):
        if kind in ("relaxation", "langevin"):
            run = _relaxation if kind == "relaxation" else _langevin
            for part in _split(int(count), 4):
                start = _pick(starts, rng)
                yield from (
                    (kind, atoms) for atoms in run(start, part, calculator, rng)
                )
            continue
        for _ in range(count):
            yield kind, _distorted(kind, _pick(starts, rng), rng)


def _distorted(kind: str, start: Atoms, rng: np.random.Generator) -> Atoms:
    if kind == "conformer":
        return start.copy()
    if kind == "noise":
        return geometry.gaussian_noise(start, rng.uniform(0.03, 0.12), rng)
    if kind == "normal-mode":
        return geometry.thermal_modes(start, rng.choice(MODE_TEMPERATURES), rng)
    warm = geometry.thermal_modes(start, rng.choice((0.0, 100.0, 300.0)), rng)
    return geometry.stretch_bond(warm, _stretch_factor(rng), rng)


def _stretch_factor(rng: np.random.Generator) -> float:
    """Compressed (30 %), stretched (40 %) or broken (30 %) bond."""
    low, high = ((0.75, 1.0), (1.0, 1.6), (1.6, 2.5))[rng.choice(3, p=(0.3, 0.4, 0.3))]
    return rng.uniform(low, high)


def _relaxation(
    start: Atoms, count: int, calculator: BaseCalculator, rng: np.random.Generator
) -> Iterator[Atoms]:
    """Take the steps of a relaxation that starts from a warm structure."""
    atoms = geometry.thermal_modes(start, rng.choice((0.0, 100.0, 300.0)), rng)
    atoms.calc = calculator
    with BFGS(atoms, logfile=None) as optimizer:
        for step, _ in enumerate(optimizer.irun(fmax=0.005, steps=count)):
            if step:
                yield atoms.copy()


def _langevin(
    start: Atoms, count: int, calculator: BaseCalculator, rng: np.random.Generator
) -> Iterator[Atoms]:
    """Every third step of a short Langevin run that starts from thermal modes."""
    temperature = rng.choice(MD_TEMPERATURES)
    atoms = geometry.thermal_modes(start, temperature, rng)
    masses = np.maximum(atoms.get_masses(), HEAVY_HYDROGEN)
    atoms.set_array("masses", masses, float)
    thermal = np.sqrt(masses * units.kB * temperature)
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * thermal[:, None])
    atoms.calc = calculator
    dynamics = Langevin(
        atoms,
        2.0 * units.fs,
        temperature_K=temperature,
        friction=0.02 / units.fs,
        fixcm=False,
        rng=rng,
    )
    for _ in range(count):
        dynamics.run(MD_STRIDE)
        yield atoms.copy()


def _dimer_frames(
    unit: Unit, calculator: BaseCalculator, rng: np.random.Generator
) -> Iterator[Frame]:
    first, second = (_starts(member, 1, rng)[0] for member in unit.members)
    n_relaxed = unit.frames // 3
    for _ in range(unit.frames - n_relaxed):
        yield "dimer", _dimer(first, second, _contact(rng), rng)
    if n_relaxed:
        close = _dimer(first, second, rng.uniform(1.7, 2.6), rng)
        for atoms in _relaxation(close, n_relaxed, calculator, rng):
            yield "dimer", atoms


def _dimer(
    first: Atoms, second: Atoms, contact: float, rng: np.random.Generator
) -> Atoms:
    first, second = (
        geometry.thermal_modes(atoms, rng.choice((0.0, 100.0, 300.0, 600.0)), rng)
        for atoms in (first, second)
    )
    return geometry.join(first, second, contact, rng, rng.random() < 0.6)


def _contact(rng: np.random.Generator) -> float:
    """Closest distance in a dimer: near (15 %), bound (60 %) or far (25 %)."""
    low, high = ((1.2, 1.6), (1.6, 3.0), (3.0, 6.0))[rng.choice(3, p=(0.15, 0.6, 0.25))]
    return rng.uniform(low, high)


def _cluster_frames(
    unit: Unit, calculator: BaseCalculator, rng: np.random.Generator
) -> Iterator[Frame]:
    molecules = [_starts(member, 1, rng)[0] for member in unit.members]
    for part in _split(unit.frames, 5):
        contacts = rng.uniform(1.7, 2.8, size=len(molecules) - 1)
        grown = geometry.cluster(molecules, list(contacts), rng)
        yield "cluster", grown
        n_warm = (part - 1) // 2
        for _ in range(n_warm):
            temperature = rng.choice(MODE_TEMPERATURES[:4])
            yield "cluster", geometry.thermal_modes(grown, temperature, rng)
        for atoms in _relaxation(grown, part - 1 - n_warm, calculator, rng):
            yield "cluster", atoms


def _crowd_frames(
    unit: Unit, calculator: BaseCalculator, rng: np.random.Generator
) -> Iterator[Frame]:
    """Make clusters and scale all their coordinates, mostly down, bonds included."""
    for _, atoms in _cluster_frames(unit, calculator, rng):
        squeezed = atoms.copy()
        squeezed.positions *= rng.uniform(*SQUEEZED)
        yield "crowd", squeezed


def _atom_frames(
    unit: Unit, calculator: BaseCalculator, rng: np.random.Generator
) -> Iterator[Frame]:
    del calculator, rng
    for symbol in unit.members:
        yield "atom", _lowest_spin(Atoms([symbol]))


def _diatomic_frames(
    unit: Unit, calculator: BaseCalculator, rng: np.random.Generator
) -> Iterator[Frame]:
    del calculator
    for distance in np.sort(rng.uniform(0.5, 6.0, size=unit.frames)):
        pair = Atoms(unit.members, positions=[[0, 0, 0], [0, 0, distance]])
        pair.positions = pair.positions @ geometry.random_rotation(rng).T
        yield "diatomic", _lowest_spin(pair)


def _lowest_spin(atoms: Atoms) -> Atoms:
    """Mark one unpaired electron where the number of electrons is odd."""
    magmoms = np.zeros(len(atoms))
    magmoms[0] = atoms.numbers.sum() % 2
    atoms.set_initial_magnetic_moments(magmoms)
    return atoms


def _starts(member: str | Atoms, n: int, rng: np.random.Generator) -> list[Atoms]:
    if isinstance(member, Atoms):
        return [member]
    return conformers(member, n, seed=int(rng.integers(2**31 - 1)))


def _pick(starts: list[Atoms], rng: np.random.Generator) -> Atoms:
    return starts[rng.integers(len(starts))]


def _split(total: int, size: int) -> list[int]:
    """Parts of at most `size` that add up to `total`."""
    return [min(size, total - done) for done in range(0, total, size)]
