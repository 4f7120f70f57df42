"""Settings of EquiCalculator: checked, changed, and without effect on anything else."""

import os
import warnings

import numpy as np
import pytest
import torch
from ase.calculators.calculator import (
    CalculatorSetupError,
    InputError,
)

from equicalc import EquiCalculator


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
    with pytest.raises(InputError, match="backend is 'cuda'; give one of auto"):
        EquiCalculator(checkpoint, device="cpu", backend="cuda")
    with pytest.raises(CalculatorSetupError, match="the model is 5: give a name"):
        EquiCalculator(5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="properties is 'energy'; give a list"):
        EquiCalculator(network, device="cpu").compute([], "energy")
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
