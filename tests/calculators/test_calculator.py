"""EquiCalculator as ASE sees it: properties, results, caching, settings."""

import logging
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators import names
from ase.calculators.calculator import (
    CalculationFailed,
    Calculator,
    CalculatorSetupError,
    InputError,
    PropertyNotImplementedError,
    all_properties,
    get_calculator_class,
)
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from equicalc import EquiCalculator
from equicalc.calculators import prediction
from equicalc.calculators.neighbors import VerletList
from equicalc.calculators.prediction import graph_of
from equicalc.models import Potential, PotentialConfig, evaluate


@pytest.fixture
def evaluations(monkeypatch):
    """Count evaluations of the network."""
    calls = []

    def counting(*args, **kwargs):
        calls.append(args)
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(prediction, "evaluate", counting)
    return calls


def test_properties_are_its_own_list(network, calc):
    no_dipole = Potential(
        PotentialConfig((1, 6, 8), channels=4, layers=1, dipole=False)
    )
    plain = EquiCalculator(no_dipole, device="cpu")
    assert "dipole" in calc.implemented_properties
    assert "dipole" not in plain.implemented_properties
    assert "dipole" in EquiCalculator.implemented_properties
    assert Calculator.implemented_properties == []


def test_one_evaluation_gives_everything(calc, crystal, evaluations):
    crystal.calc = calc
    crystal.get_potential_energy()
    crystal.get_forces()
    crystal.get_stress()
    crystal.get_charges()
    assert len(evaluations) == 1


def test_results_have_names_of_ase_only(calc, ethanol, crystal):
    for atoms in (ethanol, crystal):
        calc.calculate(atoms)
        assert set(calc.results) <= set(all_properties)
        assert set(calc.results) <= set(calc.implemented_properties)
    assert calc.export_properties()["stress"].shape == (6,)


def test_free_energy_is_the_energy_and_atomic_energies_add_up(calc, ethanol):
    ethanol.calc = calc
    energy = ethanol.get_potential_energy()
    assert ethanol.get_potential_energy(force_consistent=True) == energy
    assert ethanol.get_potential_energies().sum() == pytest.approx(energy, abs=1e-9)


def test_forces_and_stress_match_ase_finite_differences(calc, ethanol, crystal):
    for atoms in (ethanol, crystal):
        atoms.calc = calc
        forces = atoms.get_forces()
        numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=range(3))
        np.testing.assert_allclose(forces[:3], numerical, atol=1e-6)
    stress = crystal.get_stress()
    numerical = calculate_numerical_stress(crystal, eps=1e-5)
    np.testing.assert_allclose(stress, numerical, atol=1e-6)
    assert np.abs(stress).max() > 1e-4


def test_isolated_atom_has_its_reference_energy(checkpoint):
    for dtype in ("float32", "float64"):
        atom = Atoms("O", calculator=EquiCalculator(checkpoint, "cpu", dtype))
        assert atom.get_potential_energy() == -2040.0
        assert not atom.get_forces().any()


def test_stress_of_a_molecule_is_refused_without_evaluation(calc, ethanol, evaluations):
    ethanol.calc = calc
    with pytest.raises(PropertyNotImplementedError, match="three periodic directions"):
        ethanol.get_stress()
    assert not evaluations


def test_dipole_of_a_crystal_is_refused(calc, crystal):
    crystal.calc = calc
    with pytest.raises(PropertyNotImplementedError, match="not unique"):
        crystal.get_dipole_moment()


def test_charges_are_neutral_and_give_the_dipole_its_sign(calc, ethanol):
    ethanol.calc = calc
    assert ethanol.get_charges().sum() == pytest.approx(0.0, abs=1e-12)
    assert ethanol.get_dipole_moment().shape == (3,)


def test_float32_agrees_with_float64(checkpoint, ethanol, reference):
    single = EquiCalculator(checkpoint, device="cpu", dtype="float32")
    double = EquiCalculator(checkpoint, device="cpu", dtype=torch.float64)
    [a], [b] = single.compute([ethanol]), double.compute([ethanol])
    assert double.parameters["dtype"] == "float64"
    reference(a, b, 1e-4)
    assert a["energy"] != b["energy"]


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
        lambda a: a.set_initial_charges([1.0] + [0.0] * (len(a) - 1)),
        lambda a: a.set_initial_magnetic_moments([1.0] + [0.0] * (len(a) - 1)),
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
    ethanol.set_initial_charges([0.3, -0.3] + [0.0] * (len(ethanol) - 2))
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


def test_wrong_settings_are_named(checkpoint, network, tmp_path):
    with pytest.raises(CalculatorSetupError, match="'float16' is not one of"):
        EquiCalculator(checkpoint, dtype="float16")
    with pytest.raises(CalculatorSetupError, match="device 'gpu' is not known"):
        EquiCalculator(checkpoint, device="gpu")
    with pytest.raises(CalculatorSetupError, match="device 'meta' is not supported"):
        EquiCalculator(checkpoint, device="meta")
    with pytest.raises(CalculatorSetupError, match="not on this machine"):
        EquiCalculator(checkpoint, device="cuda:99")
    with pytest.raises(InputError, match="skin is -1"):
        EquiCalculator(checkpoint, device="cpu", skin=-1)
    for skin in ("1", np.inf, np.nan):
        with pytest.raises(InputError, match=r"skin is .*; give a number"):
            EquiCalculator(checkpoint, device="cpu", skin=skin)  # type: ignore[arg-type]
    with pytest.raises(CalculatorSetupError, match="'float16' is not one of"):
        EquiCalculator(checkpoint, dtype=np.float16)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"unknown setting 'zzz'\. Settings: "):
        EquiCalculator(network, device="cpu").set(zzz=1)
    with pytest.raises(InputError, match="other_states is 'maybe'"):
        EquiCalculator(checkpoint, device="cpu", other_states="maybe")
    with pytest.raises(CalculatorSetupError, match="'watr'"):
        EquiCalculator("watr")
    with pytest.raises(CalculatorSetupError, match="not a model of equicalc"):
        EquiCalculator(torch.nn.Linear(1, 1))
    truncated = tmp_path / "half.safetensors"
    truncated.write_bytes(checkpoint.read_bytes()[:300])
    with pytest.raises(CalculatorSetupError, match=r"half\.safetensors"):
        EquiCalculator(truncated)
    calc = EquiCalculator(network, device="cpu")
    with pytest.raises(InputError, match="did you mean 'device'"):
        calc.set(devise="cpu")
    with pytest.raises(InputError, match="did you mean 'dtype'"):
        EquiCalculator.fromdict({"dtyp": "float32"})


def test_settings_can_change_and_failing_to_changes_nothing(network, ethanol):
    calc = EquiCalculator(network, device="cpu")
    single = calc.get_potential_energy(ethanol)
    with pytest.raises(CalculatorSetupError):
        calc.set(dtype="float16")
    assert calc.get_potential_energy(ethanol) == single
    assert calc.set(dtype="float32") == {}
    assert calc.set(dtype=torch.float32) == {}
    assert calc.set(dtype=torch.float64) == {"dtype": "float64"}
    assert calc.set(dtype=np.float64) == {}
    assert calc.results == {}
    assert calc.get_potential_energy(ethanol) == pytest.approx(single, abs=1e-4)
    assert calc.get_potential_energy(ethanol) != single


def test_network_of_the_caller_is_left_alone(network, ethanol):
    before = {k: v.clone() for k, v in network.state_dict().items()}
    EquiCalculator(network, device="cpu", dtype="float64").get_forces(ethanol)
    assert all(
        p.requires_grad and p.dtype == torch.float32 for p in network.parameters()
    )
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_two_precisions_live_in_one_process(checkpoint, ethanol):
    single = EquiCalculator(checkpoint, device="cpu", dtype="float32")
    double = EquiCalculator(checkpoint, device="cpu", dtype="float64")
    alone = double.get_forces(ethanol), single.get_forces(ethanol)
    for _ in range(2):
        for calc, expected in zip((double, single), alone):
            calc.reset()
            np.testing.assert_array_equal(calc.get_forces(ethanol), expected)


def test_no_global_state_is_changed(checkpoint, ethanol):
    def state():
        return (
            torch.get_default_dtype(),
            torch.get_float32_matmul_precision(),
            torch.is_grad_enabled(),
            torch.get_rng_state().tolist(),
            dict(os.environ),
            list(warnings.filters),
            np.geterr(),
        )

    before = state()
    EquiCalculator(checkpoint, device="cpu", dtype="float64").get_forces(ethanol)
    assert state() == before


def test_structure_is_not_changed(calc, crystal):
    crystal.positions += 30.0
    crystal.info["x"] = 1
    before = crystal.copy()
    calc.get_forces(crystal)
    assert crystal == before
    assert crystal.info == before.info


def test_ase_knows_the_calculator_by_name(calc):
    assert get_calculator_class("equicalc") is EquiCalculator
    assert "equicalc" in names.names
    assert calc.name == "equicalc"


def test_attaches_itself_and_shows_what_it_is(checkpoint, ethanol):
    calc = EquiCalculator(checkpoint, device="cpu", atoms=ethanol)
    assert ethanol.calc is calc
    model = str(checkpoint.resolve())
    assert repr(calc) == f"EquiCalculator({model=}, device='cpu', dtype='float32')"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_with_cpu(checkpoint, structures, reference):
    cpu = EquiCalculator(checkpoint, device="cpu", dtype="float64")
    gpu = EquiCalculator(checkpoint, device="cuda", dtype="float64")
    for found, expected in zip(gpu.compute(structures), cpu.compute(structures)):
        reference(found, expected, 1e-8)


def test_ase_plugin_loads_no_torch():
    code = (
        "import sys, equicalc.calculators.ase_plugin as plugin; "
        "assert 'torch' not in sys.modules; print(len(plugin.__ase_plugins__))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == 1


def test_shipped_model_in_compiled_loops_is_close_to_the_plain_one(ethanol):
    """The bounds that are stated: 1e-6 of the energy, 1e-5 eV/Angstrom."""
    calc = EquiCalculator(device="cpu", dtype="float32")
    ethanol.calc = calc
    [member] = calc.committee.members
    neighbors = VerletList(member.cutoff)(ethanol)
    plain = evaluate(member.model, graph_of(ethanol, neighbors))
    energy = float(plain["energy"])
    assert ethanol.get_potential_energy() == pytest.approx(energy, rel=1e-6)
    np.testing.assert_allclose(ethanol.get_forces(), plain["forces"], rtol=0, atol=1e-5)
