"""The TorchSim model agrees with the ASE calculator and passes TorchSim's own test."""

import types

import numpy as np
import pytest
import torch

from equicalc.calculators.torchsim import EquiTorchSimModel
from equicalc.models import Potential, PotentialConfig

MISSING = "pip install torch-sim-atomistic"


def state_of(structures, pbc, dtype=torch.float64):
    """What TorchSim makes of structures: lattice vectors in columns."""
    sizes = torch.tensor([len(a) for a in structures])
    cells = np.stack([a.cell.array.T for a in structures])
    return types.SimpleNamespace(
        positions=torch.tensor(np.concatenate([a.positions for a in structures])).to(
            dtype
        ),
        cell=torch.tensor(cells).to(dtype),
        pbc=pbc,
        atomic_numbers=torch.tensor(np.concatenate([a.numbers for a in structures])),
        system_idx=torch.arange(len(sizes)).repeat_interleave(sizes),
    )


@pytest.fixture
def model(checkpoint):
    return EquiTorchSimModel(checkpoint, device="cpu", dtype="float64")


@pytest.mark.parametrize("pbc", [True, [True] * 3, torch.tensor([True] * 3)])
def test_crystals_agree_with_the_calculator(model, calc, crystal, pbc):
    structures = [crystal, crystal * (2, 1, 1)]
    out = model(state_of(structures, pbc))
    np.testing.assert_allclose(
        out["energy"], [calc.get_potential_energy(a) for a in structures], atol=1e-9
    )
    np.testing.assert_allclose(
        out["forces"],
        np.concatenate([calc.get_forces(a) for a in structures]),
        atol=1e-9,
    )
    for tensor, atoms in zip(out["stress"].numpy(), structures):
        voigt = tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        np.testing.assert_allclose(voigt, calc.get_stress(atoms), atol=1e-10)


def test_molecules_have_no_stress(model, calc, ethanol):
    out = model(vars(state_of([ethanol, ethanol[:3]], pbc=False)))
    np.testing.assert_allclose(out["forces"][:9], calc.get_forces(ethanol), atol=1e-9)
    assert out["stress"].shape == (2, 3, 3)
    assert not out["stress"].any()


def test_what_is_computed_can_be_chosen(model, crystal):
    model.compute_stress = False
    assert model(state_of([crystal], True)).keys() == {"energy", "forces"}
    model.compute_forces = False
    assert model(state_of([crystal], True)).keys() == {"energy"}
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float64)


def test_state_is_left_alone_and_answers_are_detached(model, crystal):
    state = state_of([crystal], True)
    before = {k: v.clone() for k, v in vars(state).items() if torch.is_tensor(v)}
    out = model(state)
    assert all(torch.equal(getattr(state, k), v) for k, v in before.items())
    assert not any(value.requires_grad for value in out.values())


def test_torchsim_validates_the_model():
    interface = pytest.importorskip("torch_sim.models.interface", reason=MISSING)
    torch.manual_seed(0)
    config = PotentialConfig((1, 6, 12, 14, 26), channels=4, layers=2)
    model = EquiTorchSimModel(Potential(config), device="cpu", dtype="float64")
    assert isinstance(model, interface.ModelInterface)
    interface.validate_model_outputs(model, torch.device("cpu"), torch.float64)


def test_torchsim_states_are_understood(model, calc, crystal):
    torch_sim = pytest.importorskip("torch_sim", reason=MISSING)
    state = torch_sim.io.atoms_to_state([crystal], torch.device("cpu"), torch.float64)
    forces = model(state)["forces"]
    np.testing.assert_allclose(forces, calc.get_forces(crystal), atol=1e-9)
