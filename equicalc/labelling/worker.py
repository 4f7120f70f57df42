"""Label the structures of one unit of work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from equicalc.calculators.named import named_calculator
from equicalc.labelling.sampling import KINDS, Unit, frames
from equicalc.labelling.shards import Record

OPTIONAL = ("dipole", "charges")


@dataclass(frozen=True)
class Task:
    """What is the same for all units of a run; see `LabelOptions`."""

    calculator: str
    seed: int
    max_force: float
    timeout: float


@dataclass
class Result:
    """Labelled structures of a unit and what went wrong."""

    unit: Unit
    records: list[Record] = field(default_factory=list)
    failures: list[Record] = field(default_factory=list)

    def add(self, outcome: Record) -> None:
        """Add a labelled structure or a failure."""
        (self.failures if "reason" in outcome else self.records).append(outcome)


def label_unit(unit: Unit, calculator: BaseCalculator, task: Task) -> Iterator[Record]:
    """Make and label the structures of a unit, one by one.

    Yields
    ------
    dict
        The arrays of a labelled structure, or a failure with its ``"reason"``. An
        error in making a structure ends the unit, one in labelling does not.
    """
    made = frames(unit, calculator, task.seed)
    while True:
        kind = unit.kind
        try:
            kind, atoms = next(made)
            outcome = _record(atoms, kind, unit.group, calculator, task.max_force)
        except StopIteration:
            return
        except Exception as error:  # a calculator raises whatever it likes
            outcome = failure(unit, kind, f"{type(error).__name__}: {error}")
        yield outcome


def whole_unit(task: Task, unit: Unit) -> Result:
    """Label a unit with a calculator of its own, all at once."""
    result = Result(unit)
    for outcome in label_unit(unit, named_calculator(task.calculator), task):
        result.add(outcome)
    return result


def failure(unit: Unit, kind: str, reason: str) -> Record:
    """Line of the list of failures."""
    return {"unit": unit.index, "molecule": unit.name, "kind": kind, "reason": reason}


def _record(
    atoms: Atoms, kind: str, group: int, calculator: BaseCalculator, max_force: float
) -> Record:
    atoms.calc = calculator
    forces = atoms.get_forces()
    results = getattr(calculator, "results", {})  # spares comparing atoms again
    energy = results.get("energy")
    if energy is None:
        energy = atoms.get_potential_energy()
    _require_sane(energy, forces, max_force)
    record: Record = {
        "z": atoms.numbers.astype(np.uint8),
        "pos": atoms.positions.astype(np.float32),
        "energy": np.float64(energy),
        "forces": forces.astype(np.float32),
        "group": np.int64(group),
        "kind": np.uint8(KINDS.index(kind)),
    }
    for name in OPTIONAL:
        if name in calculator.implemented_properties:
            values = results.get(name)
            if values is None:
                values = calculator.get_property(name, atoms)
            record[name] = np.asarray(values, dtype=np.float32)
    return record


def _require_sane(energy: float, forces: np.ndarray, max_force: float) -> None:
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        raise ValueError("energy or forces are not finite")
    largest = np.linalg.norm(forces, axis=1).max()
    if largest > max_force:
        raise ValueError(f"force of {largest:.1f} eV/Angstrom, more than {max_force:g}")
