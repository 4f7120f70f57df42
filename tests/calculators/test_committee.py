"""Batches equal loops, committees average, Hessians and descriptors are laid out."""

import numpy as np
import pytest
import torch
from ase.calculators.calculator import (
    InputError,
    PropertyNotImplementedError,
    all_properties,
)

from equicalc import EquiCalculator
from equicalc.calculators import prediction
from equicalc.models import Potential, PotentialConfig, evaluate


def results_of(calc, atoms):
    calc.calculate(atoms)
    return {**calc.results, **calc.extras}


@pytest.fixture
def committee(network, other_network):
    return EquiCalculator([network, other_network], device="cpu", dtype="float64")


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_equals_loop(calc, structures, reference, batch_size):
    before = [atoms.copy() for atoms in structures]
    answers = calc.compute(structures, batch_size=batch_size)
    assert structures == before
    for atoms, answer in zip(structures, answers):
        reference(answer, results_of(calc, atoms), 1e-9)


def test_batch_of_a_committee_equals_loop(committee, structures, reference):
    for atoms, answer in zip(structures, committee.compute(structures, batch_size=2)):
        reference(answer, results_of(committee, atoms), 1e-9)


def test_batch_evaluates_once_per_batch(calc, structures, monkeypatch):
    sizes = []

    def counting(model, graph, outputs):
        sizes.append(len(graph.ptr) - 1)
        return evaluate(model, graph, outputs)

    monkeypatch.setattr(prediction, "evaluate", counting)
    calc.compute(structures, batch_size=2)
    # molecules: 4 of 7, crystals: 2, slab: 1
    assert sorted(sizes) == [1, 2, 2, 2]


def test_batch_gives_what_is_asked(calc, committee, crystal):
    [answer] = calc.compute([crystal], ["stress", "free_energy"])
    assert answer.keys() == {"stress", "free_energy"}
    [answer] = committee.compute([crystal], ["energy_std"])
    assert answer.keys() == {"energy_std"}
    assert calc.compute([]) == []


def test_batch_says_which_structure_is_wrong(calc, ethanol, crystal):
    with pytest.raises(
        PropertyNotImplementedError, match="structure 1: a stress needs"
    ):
        calc.compute([crystal, ethanol], ["stress"])
    with pytest.raises(PropertyNotImplementedError, match="'energy_std' is not"):
        calc.compute([crystal], ["energy_std"])
    wrong = ethanol.copy()
    wrong.symbols[0] = "Fe"
    with pytest.raises(InputError, match="structure 2: element Fe"):
        calc.compute([crystal, ethanol, wrong])
    wrong = ethanol.copy()
    wrong.positions[3] = np.nan
    with pytest.raises(InputError, match="structure 1: positions"):
        calc.compute([ethanol, wrong])
    ethanol.info["charge"] = 1
    with pytest.raises(InputError, match="charge"):
        calc.compute([ethanol])
    with pytest.raises(InputError, match="batch_size is 0"):
        calc.compute([crystal], batch_size=0)


def test_committee_is_mean_and_sample_deviation(
    network, other_network, committee, crystal
):
    singles = [
        results_of(EquiCalculator(n, device="cpu", dtype="float64"), crystal)
        for n in (network, other_network)
    ]
    committee.calculate(crystal)
    for name in ("energy", "forces", "stress", "charges", "energies"):
        mean = np.mean([s[name] for s in singles], axis=0)
        np.testing.assert_allclose(committee.results[name], mean, atol=1e-12)
    for name in ("energy", "forces"):
        spread = np.std([s[name] for s in singles], axis=0, ddof=1)
        np.testing.assert_allclose(committee.extras[f"{name}_std"], spread, atol=1e-12)
    assert committee.extras["energy_std"] > 0
    assert set(committee.results) <= set(all_properties)


def test_single_model_has_no_deviation(calc, ethanol):
    calc.calculate(ethanol)
    assert calc.extras == {}


def test_committee_knows_what_all_its_models_know(network):
    config = PotentialConfig((1, 8, 9), channels=4, layers=1, dipole=False)
    calc = EquiCalculator([network, Potential(config)], device="cpu")
    assert calc.committee.elements == [1, 8]
    assert "dipole" not in calc.implemented_properties
    strange = Potential(PotentialConfig((9, 17), channels=4, layers=1))
    with pytest.raises(InputError, match="no element in common"):
        EquiCalculator([network, strange], device="cpu")
    with pytest.raises(InputError, match="list of models is empty"):
        EquiCalculator([])


def test_hessian_is_the_derivative_of_the_forces(calc, crystal):
    hessian = calc.get_hessian(crystal)
    assert hessian.shape == (18, 18)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-10)
    h = 1e-4
    for column in (0, 7, 16):
        forces = []
        for sign in (1, -1):
            moved = crystal.copy()
            moved.positions.reshape(-1)[column] += sign * h
            forces.append(calc.get_forces(moved).reshape(-1))
        numerical = -(forces[0] - forces[1]) / (2 * h)
        np.testing.assert_allclose(hessian[:, column], numerical, atol=1e-5)


def test_descriptors_are_invariant_and_follow_their_atoms(calc, committee, ethanol):
    descriptors = calc.get_descriptors(ethanol)
    assert descriptors.shape == (9, 4)
    turned = ethanol.copy()
    turned.rotate(37, (1, 2, 3))
    turned.translate((5, 6, 7))
    np.testing.assert_allclose(calc.get_descriptors(turned), descriptors, atol=1e-10)
    turned.positions *= -1
    np.testing.assert_allclose(calc.get_descriptors(turned), descriptors, atol=1e-10)
    order = [3, 1, 0, 2, 8, 7, 6, 5, 4]
    np.testing.assert_allclose(
        calc.get_descriptors(ethanol[order]), descriptors[order], atol=1e-10
    )
    both = committee.get_descriptors(ethanol)
    np.testing.assert_allclose(both[:, :4], descriptors, atol=1e-10)
    assert both.shape == (9, 8)
    assert np.abs(descriptors - descriptors.mean(axis=0)).max() > 1e-3


def test_extra_methods_leave_results_alone(calc, ethanol, crystal):
    calc.calculate(ethanol)
    before = dict(calc.results)
    calc.get_hessian(crystal)
    calc.get_descriptors(crystal)
    calc.compute([crystal])
    assert calc.results == before
    assert calc.check_state(ethanol) == []


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_backends_agree(network, crystal, backend, reference):
    calc = EquiCalculator(network, device="cpu", dtype="float64", backend=backend)
    default = EquiCalculator(network, device="cpu", dtype="float64")
    reference(results_of(calc, crystal), results_of(default, crystal), 1e-9)
    assert torch.get_default_dtype() == torch.float32
