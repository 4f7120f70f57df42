"""Checks that a calculator behaves as ASE's optimisers, dynamics and files expect."""

# The first lines of the docstrings are the names of the checks.
# ruff: noqa: D401

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator, all_properties
from ase.outputs import all_outputs

from equicalc.calculators.conformance.report import Failure, Measure, Skip
from equicalc.calculators.conformance.subject import Subject, error_of, largest


def own_properties(subject: Subject) -> None:
    """The list of properties is the calculator's own."""
    if leaked := [*BaseCalculator.implemented_properties]:
        raise Failure(f"every ASE calculator now claims {leaked}")
    if subject.calc.implemented_properties is Calculator.implemented_properties:
        raise Failure("implemented_properties is the list of the base class")


def known_names(subject: Subject) -> None:
    """Properties and results have names that ASE knows."""
    subject.energy(subject.molecule)
    known = {*all_properties, *all_outputs}
    given = {*subject.calc.implemented_properties, *subject.calc.results}
    if unknown := sorted(given - known):
        raise Failure(f"ASE knows no {', '.join(unknown)}")


def declared_is_delivered(subject: Subject) -> None:
    """Every declared property can be had from a molecule or a crystal."""
    structures = [a for a in (subject.molecule, subject.crystal) if a is not None]
    missing = [
        name
        for name in subject.calc.implemented_properties
        if all(error_of(lambda a=a, n=name: subject.get(n, a)) for a in structures)
    ]
    if "stress" in missing and subject.crystal is None:
        missing.remove("stress")
    if missing:
        raise Failure(f"declared, but not to be had: {', '.join(missing)}")


def one_evaluation(subject: Subject) -> None:
    """One calculation gives energy, forces and stress."""
    names = [n for n in ("energy", "forces", "stress") if subject.has(n)]
    atoms = (subject.molecule if subject.crystal is None else subject.crystal).copy()
    if subject.crystal is None:
        names = [n for n in names if n != "stress"]
    atoms.positions[0] += 1e-3
    with _counted(subject.calc) as calls:
        for name in names:
            subject.calc.get_property(name, atoms)
    if len(calls) != 1:
        raise Failure(f"{', '.join(names)} took {len(calls)} calculations")


def cached(subject: Subject) -> None:
    """An unchanged structure is not calculated again, a changed one is."""
    atoms = subject.molecule.copy()
    subject.calc.get_property("energy", atoms)
    with _counted(subject.calc) as calls:
        subject.calc.get_property("energy", atoms)
        if calls:
            raise Failure("calculated again although nothing had changed")
        atoms.positions[0] += 1e-3
        subject.calc.get_property("energy", atoms)
        if not calls:
            raise Failure("gave the old energy although an atom had moved")


def results_are_copies(subject: Subject) -> None:
    """Writing into returned forces does not change later answers."""
    subject.need("forces")
    atoms = subject.molecule.copy()
    forces = np.asarray(subject.calc.get_property("forces", atoms))
    before = forces.copy()
    forces += 1.0
    later = np.asarray(subject.calc.get_property("forces", atoms))
    if not np.array_equal(later, before):
        raise Failure("the array returned is the one that is kept")


def inputs_unchanged(subject: Subject) -> None:
    """Structures are not changed."""
    atoms = subject.molecule.copy()
    before = atoms.copy()
    subject.calc.get_property("energy", atoms)
    same = atoms == before and atoms.info == before.info
    if not same or atoms.arrays.keys() != before.arrays.keys():
        raise Failure("atoms differ after the calculation")


def environment_unchanged(subject: Subject) -> None:
    """Calculating leaves environment, filters, random numbers and precision alone."""
    before = _environment()
    subject.energy(_nudged(subject.molecule))
    changed = [name for name, value in _environment().items() if value != before[name]]
    if changed:
        raise Failure(f"changed: {', '.join(changed)}")


def repeatable(subject: Subject) -> Measure:
    """The same structure gives the same energy, whatever came between."""
    first = subject.energy(subject.molecule)
    subject.energy(_nudged(subject.molecule))
    difference = abs(subject.energy(subject.molecule) - first)
    tolerance = subject.tolerances.energy * len(subject.molecule)
    return Measure(difference, tolerance, "eV")


def free_energy(subject: Subject) -> Measure:
    """The free energy is given and equals the energy."""
    subject.energy(subject.molecule)
    if "free_energy" not in subject.calc.results:
        raise Failure("not in the results, but optimisers and numerical stress ask it")
    difference = subject.calc.results["free_energy"] - subject.get(
        "energy", subject.molecule
    )
    return Measure(abs(difference), subject.tolerances.energy, "eV")


def atomic_energies(subject: Subject) -> Measure:
    """Atomic energies add up to the energy."""
    subject.need("energies")
    total = subject.get("energies", subject.molecule).sum()
    difference = abs(total - subject.get("energy", subject.molecule))
    tolerance = subject.tolerances.energy * len(subject.molecule)
    return Measure(difference, tolerance, "eV")


def stress_shape(subject: Subject) -> None:
    """The stress has six components, and a molecule has none."""
    subject.need("stress")
    shape = np.shape(subject.get("stress", subject.periodic))
    if shape != (6,):
        raise Failure(f"shape {shape} instead of (6,): xx, yy, zz, yz, xz, xy")
    error = error_of(lambda: subject.get("stress", subject.molecule))
    if not isinstance(error, NotImplementedError):
        raise Failure(f"a molecule's stress gives {error!r}, not an error of ASE")


def dictionary(subject: Subject) -> Measure:
    """The calculator can be built again from its dictionary."""
    settings = json.loads(json.dumps(subject.calc.todict()))
    kind = type(subject.calc)
    build = getattr(kind, "fromdict", lambda found: kind(**found))
    return _same_answer(subject, build(settings))


def pickled(subject: Subject) -> Measure:
    """The calculator survives pickling."""
    return _same_answer(subject, pickle.loads(pickle.dumps(subject.calc)))


def deep_copied(subject: Subject) -> Measure:
    """The calculator survives copying."""
    return _same_answer(subject, copy.deepcopy(subject.calc))


INTERFACE = (
    own_properties,
    known_names,
    declared_is_delivered,
    one_evaluation,
    cached,
    results_are_copies,
    inputs_unchanged,
    environment_unchanged,
    repeatable,
    free_energy,
    atomic_energies,
    stress_shape,
)
#: Of these a compiled calculator may die.
COPIES = (dictionary, pickled, deep_copied)


def _same_answer(subject: Subject, other: BaseCalculator) -> Measure:
    subject.need("forces")
    atoms = _nudged(subject.molecule)
    difference = other.get_property("forces", atoms.copy()) - subject.forces(atoms)
    return Measure(largest(difference), subject.tolerances.forces, "eV/Angstrom")


def _nudged(atoms: Atoms) -> Atoms:
    nudged = atoms.copy()
    nudged.positions[0, 0] += 0.01
    return nudged


@contextmanager
def _counted(calc: BaseCalculator) -> Iterator[list[None]]:
    """Record every call of the calculator's `calculate`."""
    if "calculate" in vars(calc):
        raise Skip("its calculate is replaced already")
    original, calls = calc.calculate, []

    def counting(*args: Any, **kwargs: Any) -> None:
        calls.append(None)
        original(*args, **kwargs)

    calc.calculate = counting
    try:
        yield calls
    finally:
        del calc.calculate


def _environment() -> dict[str, Any]:
    """Return global state that others rely on."""
    state: dict[str, Any] = {
        "environment variables": dict(os.environ),
        "numpy error handling": np.geterr(),
        "numpy random numbers": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "random numbers": random.getstate(),
        "warning filters": list(warnings.filters),
    }
    if torch := sys.modules.get("torch"):
        state["torch default dtype"] = torch.get_default_dtype()
        state["torch precision"] = torch.get_float32_matmul_precision()
        state["torch threads"] = torch.get_num_threads()
        state["torch gradients"] = torch.is_grad_enabled()
    return state
