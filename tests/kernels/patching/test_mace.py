"""Patched MACE models say what they said before, and can be restored."""

import copy
import io
import logging

import pytest
import torch

from equicalc.kernels import cpp, patch, unpatch

BLOCKS = [
    "RealAgnostic",
    "RealAgnosticResidual",
    "RealAgnosticDensityResidual",
    "RealAgnosticResidualNonLinear",
]
REPLACED = ["spherical_harmonics", "interactions.0", "interactions.1"]
OUTPUTS = ("energy", "forces", "stress")


def answers(model, data):
    out = model(dict(data), compute_stress=True)
    return {name: out[name].detach() for name in OUTPUTS}


def training_gradients(model, data):
    """Gradients of a loss on energy, forces and stress."""
    out = model(dict(data), training=True, compute_stress=True)
    loss = torch.stack([(out[name] ** 2).sum() for name in OUTPUTS]).sum()
    parameters = dict(model.named_parameters())
    inputs = list(parameters.values())
    gradients = torch.autograd.grad(loss, inputs, materialize_grads=True)
    return dict(zip(parameters, gradients, strict=True))


def saved_and_loaded(model):
    """Through a file, as MACE keeps its models."""
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("block", BLOCKS)
def test_same_energy_forces_and_stress(mace_model, mace_data, block):
    model, data = mace_model(block=block), mace_data()
    before = answers(model, data)
    assert patch(model) == REPLACED
    after = answers(model, data)
    assert before["forces"].abs().max() > 1e-3
    for name in OUTPUTS:
        torch.testing.assert_close(after[name], before[name], rtol=1e-10, atol=1e-10)


def test_same_in_single_precision(mace_model, mace_data):
    model, data = mace_model(dtype=torch.float32), mace_data(torch.float32)
    before = answers(model, data)
    patch(model)
    after = answers(model, data)
    energy, forces = before["energy"], before["forces"]
    torch.testing.assert_close(after["energy"], energy, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(after["forces"], forces, rtol=0.0, atol=1e-5)


def test_same_training_gradients(mace_model, mace_data):
    model, data = mace_model(), mace_data()
    before = training_gradients(model, data)
    patch(model)
    after = training_gradients(model, data)
    for name, gradient in before.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(
            after[name], gradient, rtol=1e-9, atol=1e-10 * max(scale, 1.0)
        )


def test_same_hessian(mace_model, mace_data):
    model, data = mace_model(), mace_data()
    before = model(dict(data), compute_hessian=True)["hessian"]
    patch(model)
    after = model(dict(data), compute_hessian=True)["hessian"]
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


def test_generated_kernels_do_the_work(mace_model, mace_data):
    model, data = mace_model(), mace_data()
    patch(model)
    with torch.profiler.profile() as profile:
        answers(model, data)
    ran = {event.key: event.count for event in profile.key_averages()}
    assert ran["equicalc::spherical_harmonics"] == 1
    assert ran.get("equicalc::uvu", 0) == (2 if cpp.find_compiler() else 0)


def test_same_without_a_compiler(mace_model, mace_data):
    model, data = mace_model(), mace_data()
    before = answers(model, data)
    patch(model, backend="torch")
    after = answers(model, data)
    for name in OUTPUTS:
        torch.testing.assert_close(after[name], before[name], rtol=1e-10, atol=1e-10)


def test_state_dict_is_unchanged(mace_model):
    model = mace_model()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    patch(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_unpatched_is_the_original_to_the_last_bit(mace_model, mace_data):
    model, data = mace_model(), mace_data()
    attributes = {name: set(vars(m)) for name, m in model.named_modules()}
    before = answers(model, data)
    patch(model)
    unpatch(model)
    after = answers(model, data)
    assert {name: set(vars(m)) for name, m in model.named_modules()} == attributes
    assert all(torch.equal(after[name], before[name]) for name in OUTPUTS)


def test_patching_twice_is_patching_once(mace_model, mace_data):
    model = mace_model()
    assert patch(model) == patch(model) == REPLACED
    unpatch(model)
    assert "conv_fusion" not in vars(model.interactions[0])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, saved_and_loaded])
def test_copies_are_patched_and_independent(mace_model, mace_data, duplicate):
    model, data = mace_model(), mace_data()
    patch(model)
    before = answers(model, data)
    twin = duplicate(model)
    found = answers(twin, data)
    torch.testing.assert_close(found["forces"], before["forces"])
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    unpatch(twin)
    assert answers(twin, data)["forces"].abs().max() == 0
    assert "conv_fusion" in vars(model.interactions[0])
    after = answers(model, data)
    assert torch.equal(after["forces"], before["forces"])


def test_a_model_without_anything_to_patch_is_refused():
    with pytest.raises(ValueError, match="Linear has neither spherical harmonics"):
        patch(torch.nn.Linear(1, 1))


def test_what_cannot_be_fused_is_left_and_named(mace_model, mace_data, caplog):
    model, data = mace_model(edge_irreps="8x0e + 4x1o"), mace_data()
    before = answers(model, data)
    with caplog.at_level(logging.WARNING, "equicalc"):
        assert patch(model) == REPLACED[:2]
    assert "interactions.1: its nodes have features 8x0e+4x1o" in caplog.text
    after = answers(model, data)
    torch.testing.assert_close(after["forces"], before["forces"], rtol=0, atol=1e-10)
