"""Patched NequIP models say what they said before, and can be restored."""

import copy

import pytest
import torch

from equicalc.kernels import patch, unpatch

REPLACED = ["spharm_edges.sh", "layer0_convnet.conv", "layer1_convnet.conv"]


@pytest.fixture
def nequip_data(crystal):
    return {
        "pos": crystal.pos,
        "edge_index": crystal.edge_index.flip(0),
        "edge_cell_shift": crystal.edge_shift,
        "cell": crystal.cell[0],
        "batch": crystal.batch,
        "ptr": crystal.ptr,
        "atom_types": (crystal.z == 8).long(),
    }


def answers(model, data):
    out = model(dict(data))
    return {name: out[name] for name in ("total_energy", "forces")}


def overridden(model):
    """Modules whose forward is not that of their class, as TorchScript has them."""
    return {name for name, m in model.named_modules() if "forward" in vars(m)}


def training_gradients(model, data):
    values = answers(model.train(), data).values()
    loss = torch.stack([(value**2).sum() for value in values]).sum()
    parameters = list(model.parameters())
    return torch.autograd.grad(loss, parameters, materialize_grads=True)


def test_same_energy_and_forces(nequip_model, nequip_data):
    model = nequip_model().eval()
    overridden_before = overridden(model)
    before = answers(model, nequip_data)
    assert [name.removeprefix("model.func.") for name in patch(model)] == REPLACED
    after = answers(model, nequip_data)
    assert before["forces"].abs().max() > 1e-3
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-10, atol=1e-10)
    unpatch(model)
    assert overridden(model) == overridden_before
    again = answers(model, nequip_data)
    for name in before:  # TorchScript may fuse differently from run to run
        torch.testing.assert_close(again[name], before[name], rtol=1e-12, atol=1e-12)


def test_same_training_gradients(nequip_model, nequip_data):
    model = nequip_model()
    before = training_gradients(model, nequip_data)
    patch(model)
    after = training_gradients(model, nequip_data)
    for a, b in zip(after, before, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_copies_are_independent(nequip_model, nequip_data):
    model = nequip_model().eval()
    patch(model)
    expected = answers(model, nequip_data)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = answers(twin, nequip_data)
    torch.testing.assert_close(found["forces"], expected["forces"])


def test_state_dict_is_unchanged(nequip_model):
    model = nequip_model()
    before = list(model.state_dict())
    patch(model)
    assert list(model.state_dict()) == before


def test_paths_that_break_parity_are_left_to_e3nn(nequip_model, caplog):
    model = nequip_model("8x0e + 8x1o + 8x1e")
    assert len(patch(model)) < len(REPLACED)
    assert "left as it is" in caplog.text
