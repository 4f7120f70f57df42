"""Which structures EquiCalculator takes, and what it says of the others."""

import logging

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import (
    CalculationFailed,
    CalculatorSetupError,
    InputError,
)

from equicalc import EquiCalculator
from equicalc.calculators import prediction
from equicalc.models import Potential


def test_charge_and_spin_in_info_are_watched(checkpoint, ethanol, evaluations):
    calc = EquiCalculator(checkpoint, device="cpu", other_states="ignore")
    ethanol.calc = calc
    ethanol.get_potential_energy()
    ethanol.info["note"] = "not read by the model"
    assert calc.check_state(ethanol) == []
    ethanol.info["charge"] = 1
    assert calc.check_state(ethanol) == ["charge"]
    ethanol.get_potential_energy()
    ethanol.info["spin"] = 3
    assert calc.check_state(ethanol) == ["spin"]
    ethanol.get_potential_energy()
    assert len(evaluations) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.info.update(charge=-1),
        lambda a: a.info.update(spin=2),
        lambda a: a.info.update(total_charge=1),
        lambda a: a.info.update(spin_multiplicity=3),
        lambda a: a.info.update(multiplicity=2),
        lambda a: a.set_initial_charges([1.0] + [0.0] * (len(a) - 1)),
        lambda a: a.set_initial_magnetic_moments([1.0] + [0.0] * (len(a) - 1)),
        lambda a: a.set_initial_magnetic_moments([1.0, -1.0] + [0.0] * (len(a) - 2)),
    ],
)
def test_charged_and_open_shell_structures_follow_the_setting(
    checkpoint, ethanol, change
):
    change(ethanol)
    ethanol.calc = EquiCalculator(checkpoint, device="cpu")
    with pytest.raises(InputError, match="neutral closed shells only"):
        ethanol.get_potential_energy()
    ethanol.calc.set(other_states="warn")
    with pytest.warns(UserWarning, match="neutral closed shells only"):
        ethanol.get_potential_energy()
    ethanol.calc.set(other_states="ignore")
    assert np.isfinite(ethanol.get_potential_energy())


@pytest.mark.parametrize("key", ["charge", "spin"])
@pytest.mark.parametrize("value", [np.nan, None, "one", np.array([0, 0])])
def test_states_that_are_no_number_are_named(calc, ethanol, key, value):
    ethanol.calc = calc
    ethanol.get_potential_energy()
    ethanol.info[key] = value
    with pytest.raises(InputError, match=rf'info\["{key}"\] is .* one finite number'):
        ethanol.get_potential_energy()


@pytest.mark.parametrize("method", ["get_hessian", "get_descriptors"])
def test_states_are_checked_for_everything_computed(calc, ethanol, method):
    ethanol.info["charge"] = 1
    with pytest.raises(InputError, match="neutral closed shells only"):
        getattr(calc, method)(ethanol)


def test_many_structures_may_come_one_by_one(calc, ethanol):
    listed = calc.compute([ethanol, molecule("H2O")], ["energy"])
    assert calc.compute(iter([ethanol, molecule("H2O")]), ["energy"]) == listed
    assert len(listed) == 2


def test_what_is_no_list_of_structures_is_refused(calc, ethanol):
    with pytest.raises(InputError, match=r"give \[atoms\]"):
        calc.compute(ethanol)
    with pytest.raises(InputError, match=r"structure 1 is no ase\.Atoms but a Non"):
        calc.compute([ethanol, None])
    ion = ethanol.copy()
    ion.info["charge"] = 1
    with pytest.raises(InputError, match=r"structure 1: .* charge \+1"):
        calc.compute([ethanol, ion])


def test_neutral_partial_charges_and_closed_shell_spin_are_fine(calc, ethanol):
    rounded = [0.3, -0.27]  # add up to zero only so well
    ethanol.set_initial_charges(rounded + [0.0] * (len(ethanol) - 2))
    ethanol.info.update(spin=1)
    assert np.isfinite(calc.get_potential_energy(ethanol))


def test_radical_is_logged_once(calc, caplog):
    with caplog.at_level(logging.WARNING, logger="equicalc"):
        for shift in (0.0, 0.01):
            radical = molecule("OH")
            radical.set_initial_magnetic_moments(None)
            radical.positions[0, 0] += shift
            calc.get_potential_energy(radical)
    assert [r.message.count("odd number of electrons") for r in caplog.records] == [1]


def test_wrong_structures_are_named(calc, ethanol, crystal):
    ethanol.symbols[2] = "Xe"
    with pytest.raises(InputError, match=r"Xe \(atoms 2\).*knows H, C, O"):
        calc.get_potential_energy(ethanol)
    ethanol.symbols[2] = "X"
    with pytest.raises(InputError, match=r"element X "):
        calc.get_potential_energy(ethanol)
    with pytest.raises(InputError, match="no atoms"):
        calc.get_potential_energy(Atoms())
    with pytest.raises(InputError, match=r"element of atomic number 200 \(atoms 0\)"):
        calc.get_potential_energy(Atoms([200]))
    crystal.cell[1] = 0.0
    with pytest.raises(InputError, match="zero or linearly dependent"):
        calc.get_forces(crystal)
    crystal.pbc = (True, False, True)
    assert np.isfinite(calc.get_forces(crystal)).all()
    crystal.positions[1, 2] = np.nan
    with pytest.raises(InputError, match="not finite in row 1"):
        calc.get_forces(crystal)


def test_overlapping_atoms_are_named_and_close_ones_are_not(calc, ethanol):
    ethanol.positions[4] = ethanol.positions[1]
    with pytest.raises(CalculationFailed, match=r"atoms 1 \(C\) and 4 \(H\)"):
        calc.get_potential_energy(ethanol)
    ethanol.positions[4, 0] += 0.2
    assert np.isfinite(calc.get_forces(ethanol)).all()


def test_result_that_is_not_finite_fails(network, ethanol):
    broken = Potential(network.config)
    broken.load_state_dict(network.state_dict())
    calc = EquiCalculator(broken, device="cpu")
    [member] = calc.committee.members
    member.model.get_parameter("embedding").data.fill_(torch.inf)
    with pytest.raises(CalculationFailed, match=r"not finite.*\(9 atoms and|9 atoms"):
        calc.get_potential_energy(ethanol)
    assert calc.results == {}


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),
    ],
)
def test_memory_shortage_says_how_large_the_structure_is(
    calc, ethanol, monkeypatch, error
):
    def exhausted(*args, **kwargs):
        raise error

    monkeypatch.setattr(prediction, "evaluate", exhausted)
    with pytest.raises(CalculationFailed, match="9 atoms and 72 neighbour pairs"):
        calc.get_potential_energy(ethanol)


def test_calculation_without_atoms_is_refused(calc):
    with pytest.raises(CalculatorSetupError, match="give atoms"):
        calc.get_potential_energy()
    with pytest.raises(CalculatorSetupError, match="give atoms"):
        calc.calculate()
