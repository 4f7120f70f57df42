"""EquiCalculator as ASE sees it: properties, units, precision, names."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators import names
from ase.calculators.calculator import (
    Calculator,
    PropertyNotImplementedError,
    all_properties,
    get_calculator_class,
)
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from equicalc import EquiCalculator
from equicalc.calculators.neighbors import VerletList
from equicalc.calculators.prediction import graph_of
from equicalc.graph import make_graph
from equicalc.models import Potential, PotentialConfig, evaluate


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


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_forces_do_not_mind_inference_mode(backend):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=0)
    atoms.calc = EquiCalculator(device="cpu")
    usual = atoms.get_forces()
    touching = Atoms("CO", [[0, 0, 0], [0.6, 0, 0]])
    with torch.inference_mode():
        atoms.calc = touching.calc = EquiCalculator(device="cpu", backend=backend)
        forces = atoms.get_forces()
    np.testing.assert_allclose(forces, usual, atol=2e-5)
    assert np.isfinite(touching.get_forces()).all()


def test_a_graph_of_inference_mode_has_no_forces(network):
    h2 = make_graph([1, 1], np.eye(2, 3), cutoff=4.0)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="no_grad"):
        evaluate(network, h2, ["forces"])
