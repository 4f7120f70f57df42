"""The suite passes what is right and finds what is wrong."""

import os
import time
from typing import cast

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from equicalc import EquiCalculator, validate_calculator
from equicalc.calculators.conformance import (
    CHECKS,
    TOLERANCES,
    ConformanceError,
    Tolerances,
    isolation,
)
from equicalc.calculators.conformance.report import Failure

GRADIENT = "Forces are minus the derivative of the energy"
STRESS = "Stress is the derivative of the energy with respect to strain, per volume"
SMOOTH = "The energy is smooth while two molecules part, through every cutoff"
SUPERCELL = "A supercell has the energy of its cells and the same forces"
FAR = "Nothing changes 100,000 Angstrom from the origin"
CONSERVATION = "Molecular dynamics without a thermostat keeps its total energy"
TURNED = "Energy stays and forces turn with the molecule"
COPIED = "The calculator survives copying"
PICKLE = "The calculator survives pickling"
GLOBAL = "Calculating leaves environment, filters, random numbers and precision alone"
NAN = "A position that is not a number is refused"
PHYSICS = (GRADIENT, STRESS, TURNED, FAR, SUPERCELL, SMOOTH)
ELEMENT = "An unknown element is refused by its name"


class Springs(Calculator):
    """Gaussian attraction between all pairs, with a place for one mistake."""

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

    def __init__(self, mistake=None):
        super().__init__()
        self.mistake = mistake

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None
        vectors = atoms.positions[:, None] - atoms.positions
        squared = (vectors**2).sum(-1)
        weights = np.exp(-squared)
        energy = -0.5 * weights.sum() + 0.5 * len(atoms)
        forces = -2 * (weights[..., None] * vectors).sum(1)
        if self.mistake:
            energy, forces = self.mistake(self, atoms, energy, forces)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


def wrong_sign(calc, atoms, energy, forces):
    return energy, -forces


def anisotropic(calc, atoms, energy, forces):
    return energy + 0.1 * atoms.positions[0, 2], forces


def ordered(calc, atoms, energy, forces):
    return energy + 0.01 * atoms.numbers[0], forces


def single_precision_positions(calc, atoms, energy, forces):
    rounded = atoms.positions.astype(np.float32).astype(float)
    return energy + np.abs(rounded - atoms.positions).sum(), forces


def jump(calc, atoms, energy, forces):
    return energy + 1e-3 * (np.ptp(atoms.positions, axis=0) > 12.0).any(), forces


def heating(calc, atoms, energy, forces):
    return energy, forces + np.roll(forces, 1, axis=1)


def moved(calc, atoms, energy, forces):
    atoms.positions += 1.0
    return energy, forces


def forgetful(calc, atoms, energy, forces):
    return energy + np.random.default_rng().random(), forces


def environment(calc, atoms, energy, forces):
    os.environ["SPRINGS_CALLS"] = str(int(os.environ.get("SPRINGS_CALLS", "0")) + 1)
    return energy, forces


def deadly(calc, atoms, energy, forces):
    if np.isnan(atoms.positions).any():
        os._exit(3)
    return energy, forces


def test_our_calculator_passes_everything(checkpoint):
    calc = EquiCalculator(checkpoint, device="cpu", dtype="float64")
    report = validate_calculator(calc)
    report.raise_if_failed()
    assert [check.name for check in report.checks] == list(CHECKS)
    assert not [check.name for check in report.checks if check.status == "skip"]


def test_our_calculator_passes_in_single_precision(checkpoint):
    calc = EquiCalculator(checkpoint, device="cpu", dtype="float32")
    validate_calculator(calc, only=PHYSICS).raise_if_failed()


def test_right_springs_pass_what_applies():
    report = validate_calculator(Springs())
    # a toy: no care for wrong input or periodicity
    assert report[GRADIENT].status == report[SMOOTH].status == "pass"
    assert report[STRESS].status == "skip"
    assert "does not offer stress" in report[STRESS].detail
    value = report[GRADIENT].value
    assert value is not None
    assert value < 1e-8


@pytest.mark.parametrize(
    ("mistake", "check"),
    [
        (wrong_sign, GRADIENT),
        (anisotropic, TURNED),
        (ordered, "The order of atoms does not matter"),
        (single_precision_positions, FAR),
        (jump, SMOOTH),
        (heating, CONSERVATION),
        (moved, "Structures are not changed"),
        (forgetful, "The same structure gives the same energy, whatever came between"),
        (environment, GLOBAL),
        (deadly, NAN),
    ],
)
def test_mistake_is_found(mistake, check, monkeypatch):
    monkeypatch.setenv("SPRINGS_CALLS", "0")
    report = validate_calculator(Springs(mistake), only=[check])
    assert [c.name for c in report.failures] == [check], str(report)


def test_failures_show_values_and_raise():
    report = validate_calculator(Springs(wrong_sign), only=[GRADIENT, TURNED])
    assert not report.passed
    assert f"FAIL  {GRADIENT}" in str(report)
    assert "1 of 2 checks passed, 1 failed" in str(report)
    with pytest.raises(ConformanceError, match=r"of 1e-06 eV/Angstrom; atom \d along"):
        report.raise_if_failed()
    with pytest.raises(KeyError):
        report["no such check"]


def test_emt_fails_where_it_does():
    report = validate_calculator(EMT())
    assert {check.name for check in report.failures} == {
        "Every declared property can be had from a molecule or a crystal",
        PICKLE,
        NAN,
        "Periodicity without a cell is refused",
        "A structure without atoms is refused",
        "Two atoms at the same place are refused",
    }


def test_lennard_jones_without_smoothing_is_not_smooth():
    water = molecule("H2O")
    smooth = validate_calculator(LennardJones(rc=4.0, smooth=True), water, only=PHYSICS)
    assert smooth.passed, str(smooth)
    kinked = validate_calculator(LennardJones(), water, only=[*PHYSICS, ELEMENT])
    assert [check.name for check in kinked.failures] == [SMOOTH], str(kinked)
    assert kinked[ELEMENT].status == "skip"


def test_gfn2_is_right_but_its_abort_is_reported():
    tblite = pytest.importorskip("tblite.ase")
    calc = tblite.TBLite(method="GFN2-xTB", verbosity=0)
    water = molecule("H2O")
    water.rattle(0.03, seed=1)
    only = [GRADIENT, TURNED, FAR, PICKLE, ELEMENT]
    report = validate_calculator(calc, water, only=only)
    assert {check.name for check in report.failures} == {PICKLE, ELEMENT}, str(report)
    assert "does not name Og" in report[ELEMENT].detail


def test_own_structures_are_used():
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.05, seed=0)
    cluster = copper.copy()
    cluster.pbc = False
    report = validate_calculator(EMT(), cluster, copper, only=[STRESS, GRADIENT])
    assert report.passed, str(report)


def test_calculator_that_takes_nothing_is_named():
    with pytest.raises(ValueError, match="takes no test structure"):
        validate_calculator(Springs(lambda *_: 1 / 0))


def test_refused_crystal_skips_its_checks():
    def only_molecules(calc, atoms, energy, forces):
        if atoms.pbc.any():
            raise NotImplementedError("no crystals")
        return energy, forces

    report = validate_calculator(Springs(only_molecules), only=[SUPERCELL])
    assert report[SUPERCELL].status == "skip"
    assert "no crystals" in report[SUPERCELL].detail


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="no checks"):
        validate_calculator(Springs(), only=["is beautiful"])
    with pytest.raises(ValueError, match="no tolerances 'float16'"):
        validate_calculator(Springs(), tolerances="float16", only=[])


@pytest.mark.parametrize("calc", [None, "emt", EMT, object()])
def test_what_is_no_calculator_is_refused(calc):
    with pytest.raises(ValueError, match=r"no ASE calculator|is a class"):
        validate_calculator(calc, only=[])


def test_structures_of_the_wrong_kind_are_refused():
    periodic = molecule("H2O", vacuum=3, pbc=True)
    for wrong in cast("list[Atoms]", ["H2O", Atoms(), periodic]):
        with pytest.raises(ValueError, match="molecule is"):
            validate_calculator(EMT(), wrong, only=[])


def test_what_is_not_offered_is_skipped():
    class EnergyOnly(Springs):
        implemented_properties = ["energy"]  # noqa: RUF012

    report = validate_calculator(EnergyOnly(), only=[GRADIENT, COPIED, SMOOTH])
    assert {check.status for check in report.checks} == {"skip"}, str(report)
    assert "does not offer forces" in report[GRADIENT].detail


def test_tolerances_can_be_given():
    loose = Tolerances(1e-3, 1e-3, gradient=1e3, stress=1, energy=1, forces=1)
    report = validate_calculator(Springs(wrong_sign), tolerances=loose, only=[GRADIENT])
    assert report.passed
    assert TOLERANCES["float64"].gradient < TOLERANCES["float32"].gradient


def test_hanging_check_is_given_up(monkeypatch):
    monkeypatch.setattr(isolation, "PATIENCE", 0.2)
    with pytest.raises(Failure, match="no answer"):
        isolation.isolated(time.sleep, 30)
    assert isolation.isolated(max, 1, 2) == 2
