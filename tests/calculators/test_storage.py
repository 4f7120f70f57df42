"""Calculators survive dictionaries, pickles and processes; results survive files."""

import copy
import json
import multiprocessing
import operator
import pickle
from typing import Any

import ase.db
import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.calculator import CalculatorSetupError
from ase.io.jsonio import decode, encode

from equicalc import EquiCalculator


def rebuilt(calc, how):
    if how == "pickle":
        return pickle.loads(pickle.dumps(calc))
    if how == "deepcopy":
        return copy.deepcopy(calc)
    if how == "json":
        return EquiCalculator.fromdict(json.loads(json.dumps(calc.todict())))
    settings: Any = decode(encode(calc.todict()))
    return EquiCalculator.fromdict(settings)


@pytest.mark.parametrize("how", ["pickle", "deepcopy", "json", "ase json"])
@pytest.mark.parametrize("several", [False, True])
def test_rebuilt_calculator_gives_the_same(checkpoint, crystal, how, several):
    model = [checkpoint, checkpoint] if several else checkpoint
    calc = EquiCalculator(model, device="cpu", dtype="float64", skin=0.3)
    expected = calc.get_forces(crystal)
    other = rebuilt(calc, how)
    assert other is not calc
    assert other.todict() == calc.todict()
    np.testing.assert_array_equal(other.get_forces(crystal), expected)
    assert other.committee.members[0].card["level_of_theory"] == "random"
    assert calc.get_property("forces", crystal, allow_calculation=False) is not None


def test_network_from_memory_pickles_but_has_no_dictionary(network, ethanol):
    calc = EquiCalculator(network, device="cpu", dtype="float64")
    other = pickle.loads(pickle.dumps(calc))
    np.testing.assert_array_equal(other.get_forces(ethanol), calc.get_forces(ethanol))
    with pytest.raises(CalculatorSetupError, match="save_checkpoint"):
        EquiCalculator.fromdict(calc.todict())


def test_dictionary_holds_every_setting(calc, checkpoint):
    assert calc.todict() == {
        "model": str(checkpoint.resolve()),
        "device": "cpu",
        "dtype": "float64",
        "skin": 0.5,
        "backend": "auto",
        "other_states": "error",
    }
    assert calc.todict(skip_default=True).keys() == {"model", "device", "dtype"}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_give_the_same(calc, ethanol, method):
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)  # whose threads a fork does not have
    expected = calc.get_forces(ethanol)
    torch.set_num_threads(n_threads)
    calc.reset()
    context = multiprocessing.get_context(method)
    forces = operator.methodcaller("get_forces", ethanol)
    with context.Pool(1) as pool:
        found = pool.apply_async(forces, (calc,)).get(timeout=120)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("suffix", ["traj", "extxyz", "db", "json"])
def test_files_keep_energy_forces_and_stress(calc, crystal, ethanol, tmp_path, suffix):
    path = tmp_path / f"structures.{suffix}"
    for atoms in (crystal, ethanol):
        atoms.calc = calc.__class__.fromdict(calc.todict())
        atoms.get_forces()
    ase.io.write(path, [crystal, ethanol])
    read: Any = ase.io.read(path, ":")
    for atoms, stored in zip((crystal, ethanol), read):
        energy = atoms.get_potential_energy()
        assert stored.get_potential_energy() == pytest.approx(energy, abs=1e-6)
        np.testing.assert_allclose(stored.get_forces(), atoms.get_forces(), atol=1e-6)
        if atoms.pbc.all():
            stress = stored.get_stress()
            np.testing.assert_allclose(stress, atoms.get_stress(), atol=1e-6)


def test_database_row_tells_the_calculator(calc, ethanol, tmp_path):
    ethanol.calc = calc
    ethanol.get_forces()
    database: Any = ase.db.connect(tmp_path / "one.db")
    with database:
        database.write(ethanol)
        row = database.get(1)
    assert row.calculator == "equicalc"
    again = EquiCalculator.fromdict(row.calculator_parameters)
    assert again.get_potential_energy(row.toatoms()) == pytest.approx(row.energy)
