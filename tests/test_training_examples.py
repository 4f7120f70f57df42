"""What scripts of examples/training decide and calculate."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from equicalc.data.smiles import atoms_from_smiles
from equicalc.generators.metrics import qm9_statistics

FOLDER = Path(__file__).parents[1] / "examples" / "training"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return lambda name: runpy.run_path(str(FOLDER / name))


@pytest.mark.parametrize(
    ("smiles", "complete", "step"),
    [("NCO", True, 2), ("NCO", False, -1), ("CCO", True, -1), ("CC(=O)N", True, -1)],
)
def test_the_step_that_brings_strangers_together_is_to_blame(
    script, smiles, complete, step
):
    """No saturated carbon of QM9 has nitrogen and oxygen."""
    atoms = atoms_from_smiles(smiles)
    atoms.info["complete"] = complete
    usual = qm9_statistics().counts["environments"].keys()
    assert script("verdicts.py")["to_blame"](atoms, usual) == step


def test_advantages_are_among_those_that_count(script):
    advantages = script("verdicts.py")["advantages"]
    found = advantages(np.array([1.0, 3.0, 9.0]), np.array([True, True, False]))
    np.testing.assert_allclose(found, [-1, 1, 0])
    nothing = advantages(np.zeros(2), np.ones(2, dtype=bool))
    np.testing.assert_allclose(nothing, 0)


def test_tensors_turn_with_the_molecule(script):
    pytest.importorskip("tblite")
    tensors = script("gfn2_tensors.py")["tensors"]
    water = molecule("H2O")
    turn, _ = np.linalg.qr([[0.3, 0.9, 0.1], [0.5, -0.2, 0.8], [-0.7, 0.4, 0.6]])
    before = tensors(water.numbers, water.positions)
    after = tensors(water.numbers, water.positions @ turn + [1.0, -2.0, 3.0])
    turned = {
        "dipole": before["dipole"] @ turn,
        "quadrupole": turn.T @ before["quadrupole"] @ turn,
        "polarizability": turn.T @ before["polarizability"] @ turn,
        "hyperpolarizability": np.einsum(
            "ijk,ia,jb,kc->abc", before["hyperpolarizability"], turn, turn, turn
        ),
    }
    for name, value in turned.items():
        error = np.abs(after[name] - value).max() / np.abs(value).max()
        assert error < (1e-2 if name == "hyperpolarizability" else 1e-4), name
    assert abs(np.trace(before["quadrupole"])) < 1e-6
