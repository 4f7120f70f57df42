"""``equicalc data``."""

import numpy as np

from equicalc.data.packed import PackedDataset
from equicalc.data.qm9 import TARGETS


def test_qm9_is_packed_from_arrays(cli, tmp_path):
    np.savez(
        tmp_path / "isomers.npz",
        z=np.full((10, 2), 1, np.uint8),
        pos=np.random.default_rng(0).normal(size=(10, 2, 3)),
        prop_names=np.array(list(TARGETS)),
        props=np.ones((10, len(TARGETS))),
    )
    out = cli("data", "qm9", "set", "--source", "isomers.npz", "--split", "paper")
    assert "train" in out
    assert len(PackedDataset(tmp_path / "set" / "train")) == 8


def test_help_teaches_by_example(cli):
    out = cli("data", "qm9", "--help")
    assert "Examples" in out
    assert "equicalc data qm9" in out


def test_what_cannot_be_read_is_a_user_error(cli):
    out = cli("data", "qm9", "set", "--source", "missing.npz", code=2)
    assert "missing.npz" in out
    out = cli("data", "conformers", "CCO", "XX", "-n", 2, "-o", "few", code=2)
    assert "'XX' is neither a file that exists nor a valid SMILES" in out


def test_a_finished_set_of_conformers_is_no_error(cli):
    given = ["data", "conformers", "CCO", "-n", 1, "-o", "few"]
    assert "finished already" not in cli(*given)
    assert "few was finished already" in cli(*given)
    assert "is of another call" in cli(*given, "--seed", 1, code=2)
