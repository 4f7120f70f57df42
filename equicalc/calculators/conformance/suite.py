"""Run the conformance suite on any ASE calculator."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection

from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from equicalc.calculators.conformance.interface import COPIES, INTERFACE
from equicalc.calculators.conformance.isolation import isolated
from equicalc.calculators.conformance.mistakes import MISTAKES
from equicalc.calculators.conformance.physics import PHYSICS
from equicalc.calculators.conformance.report import (
    Check,
    Failure,
    Measure,
    Skip,
    ValidationReport,
)
from equicalc.calculators.conformance.subject import (
    Subject,
    default_crystal,
    default_molecule,
    shown,
)
from equicalc.calculators.conformance.tolerances import TOLERANCES, Tolerances

_log = logging.getLogger(__name__)

_GROUPS = (*INTERFACE, *COPIES, *PHYSICS, *MISTAKES)
_CHECKS = {str(check.__doc__).split("\n")[0][:-1]: check for check in _GROUPS}
_RISKY = {*COPIES, *MISTAKES}

#: The properties that the suite checks, in its order.
CHECKS = tuple(_CHECKS)


def validate_calculator(
    calc: BaseCalculator,
    molecule: Atoms | None = None,
    crystal: Atoms | None = None,
    tolerances: str | Tolerances | None = None,
    only: Collection[str] = CHECKS,
) -> ValidationReport:
    """Check any ASE calculator: its physics, its manners and its errors.

    Nothing is raised for a calculator that misbehaves; ask the report.

    Parameters
    ----------
    calc : ASE calculator
        Under test; it is used for a few hundred calculations of ten to twenty atoms.
    molecule, crystal : Atoms, optional
        Structures without symmetry to test on. By default the first of some common
        molecules and clusters that the calculator takes, and that molecule packed into
        a skewed cell.
    tolerances : str or Tolerances, optional
        A name out of `TOLERANCES`, or numbers. By default those of the calculator's
        ``dtype`` where it has one, of ``"scf"`` where it has iterations, and else of
        ``"float64"``.
    only : collection of str
        Run these checks out of `CHECKS`.

    Returns
    -------
    ValidationReport
        ``print(report)``, ``report.passed``, ``report.raise_if_failed()``.

    Raises
    ------
    ValueError
        If `calc` is no calculator, takes no test structure, or a name is unknown.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> name = "Forces are minus the derivative of the energy"
    >>> validate_calculator(EMT(), only=[name]).passed
    True
    """
    _require_calculator(calc)
    only = [only] if isinstance(only, str) else only
    if unknown := set(only) - _CHECKS.keys():
        raise ValueError(f"no checks {sorted(unknown)}; there are: {'; '.join(CHECKS)}")
    name = tolerances or _precision(calc)
    if isinstance(name, str) and name not in TOLERANCES:
        raise ValueError(f"no tolerances {name!r}; there are {', '.join(TOLERANCES)}")
    limits = TOLERANCES[name] if isinstance(name, str) else name
    molecule = default_molecule(calc) if molecule is None else molecule
    if not isinstance(molecule, Atoms) or not len(molecule) or molecule.pbc.any():
        raise ValueError(
            f"molecule is {molecule!r}; give ase.Atoms of at least one atom, not "
            "periodic (a periodic one as crystal=)"
        )
    refusal = ""
    if crystal is None:
        crystal, refusal = default_crystal(calc, molecule)
    subject = Subject(calc, molecule, crystal, refusal, limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of calculators given nonsense
        checks = [_run(title, subject) for title in CHECKS if title in only]
    return ValidationReport(shown(calc), tuple(checks))


def _require_calculator(calc: object) -> None:
    if isinstance(calc, type):
        raise ValueError(f"{calc.__name__} is a class: give a calculator made of it")
    needed = ("get_property", "calculate", "implemented_properties")
    if missing := [name for name in needed if not hasattr(calc, name)]:
        raise ValueError(
            f"{calc!r} is no ASE calculator, it has no {', '.join(missing)}: give an "
            "object of a subclass of ase.calculators.calculator.Calculator"
        )


def _run(title: str, subject: Subject) -> Check:
    _log.debug("checking: %s", title)
    if _CHECKS[title] not in _RISKY:
        return _outcome(title, subject)
    try:
        return isolated(_outcome, title, subject)
    except Failure as reason:
        return Check(title, "fail", str(reason))


def _outcome(title: str, subject: Subject) -> Check:
    try:
        outcome = _CHECKS[title](subject)
    except Skip as reason:
        return Check(title, "skip", str(reason))
    except Failure as reason:
        return Check(title, "fail", str(reason))
    except Exception as error:  # any calculator may raise anything
        return Check(title, "fail", f"{type(error).__name__}: {error}")
    if isinstance(outcome, Measure):
        status = "pass" if outcome.value <= outcome.tolerance else "fail"
        return Check(title, status, str(outcome), outcome.value)
    return Check(title, "pass", outcome or "")


def _precision(calc: BaseCalculator) -> str:
    """Guess the name of the tolerances that fit a calculator."""
    settings = dict(getattr(calc, "parameters", None) or {})
    dtype = str(settings.get("dtype", "")).removeprefix("torch.")
    if dtype in TOLERANCES:
        return dtype
    return "scf" if "max_iterations" in settings else "float64"
