"""Random conformers: small enough, whole, turned, reproducible, resumable."""

import shutil
from itertools import islice

import numpy as np
import pytest

from equicalc.data import conformer_set
from equicalc.data.conformer_set import write_conformers
from equicalc.data.packed import PackedDataset
from equicalc.data.random_conformers import (
    ConformerOptions,
    random_conformer,
    random_conformers,
)

OPTIONS = ConformerOptions()


def torsion(pos, i, j, k, l):
    """Of four atoms, degrees."""
    a, b, c = pos[j] - pos[i], pos[k] - pos[j], pos[l] - pos[k]
    m, n = np.cross(a, b), np.cross(b, c)
    return np.degrees(np.arctan2(np.linalg.norm(b) * a @ n, m @ n))


def draws(smiles, n=12):
    rng = np.random.default_rng(0)
    return [random_conformer(smiles, OPTIONS, rng)[1] for _ in range(n)]


def test_single_bonds_turn():
    angles = [torsion(pos, 0, 1, 2, 3) for pos in draws("CCCC")]
    assert np.std(np.cos(np.radians(angles))) > 0.4


@pytest.mark.parametrize("smiles", ["CC(=O)NC", "CC=CC"])
def test_amides_and_double_bonds_do_not(smiles):
    """Atoms 0 1 3 4 of the amide, 0 1 2 3 of the butene, stay in a plane."""
    last = (0, 1, 3, 4) if "N" in smiles else (0, 1, 2, 3)
    for pos in draws(smiles, 6):
        angle = abs(torsion(pos, *last))
        assert min(angle, 180 - angle) < 40


def test_large_molecules_are_cut_and_capped():
    rng = np.random.default_rng(0)
    for _ in range(8):
        z, pos = random_conformer(
            "CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1", OPTIONS, rng
        )
        assert 1 <= (z > 1).sum() <= 9
        assert z.sum() % 2 == 0  # no open valence
        distance = np.linalg.norm(pos[:, None] - pos[None], axis=2)
        assert distance[~np.eye(len(z), dtype=bool)].min() > 0.7


def test_what_cannot_be_used_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no bond to cut"):
        random_conformer("c1ccc2cc3ccccc3cc2c1", OPTIONS, rng)
    with pytest.raises(ValueError, match="elements beside"):
        random_conformer("CCS", OPTIONS, rng)
    with pytest.raises(ValueError, match="elements beside"):
        next(random_conformers(["CCS", "[Na]"], OPTIONS, [0]))


def test_the_stream_leaves_out_what_cannot_be_used():
    stream = random_conformers(["CCS", "CCO"], OPTIONS, [0])
    assert [record["group"] for record in islice(stream, 3)] == [1, 1, 1]


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    smiles = ["CCO", "CC(=O)NC", "C1CC1"]
    whole = write_conformers(tmp_path / "whole", smiles, 7, shard=3)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(conformer_set, "_records", killed)
        with pytest.raises(KeyboardInterrupt):
            write_conformers(tmp_path / "again", smiles, 7, shard=3)
    assert not (tmp_path / "again").exists()
    [shards] = tmp_path.glob(".again*")
    before = {file: file.stat().st_mtime_ns for file in shards.glob("*")}
    assert len(before) == 3
    shutil.rmtree(sorted(before)[1])
    other = write_conformers(tmp_path / "again", ["CCCC"], 7, shard=3)
    assert set(other.column("n_atoms")) == {14}  # none of what is left
    shutil.rmtree(other.path)
    again = write_conformers(tmp_path / "again", smiles, 7, shard=3)
    for name in ("z", "pos", "group", "n_atoms"):
        np.testing.assert_array_equal(again.column(name), whole.column(name))
    assert not list(tmp_path.glob(".*"))


def test_a_finished_set_is_not_made_again(tmp_path, monkeypatch):
    given = tmp_path / "set", ["CCO"], 2
    made = write_conformers(*given)
    monkeypatch.delattr(conformer_set, "write_packed")
    np.testing.assert_array_equal(
        write_conformers(*given).column("pos"), made.column("pos")
    )
    with pytest.raises(FileExistsError, match="is of another call"):
        write_conformers(*given, seed=1)
    with pytest.raises(FileExistsError, match="is of another call"):
        write_conformers(tmp_path / "set", ["CCO"], 3)


@pytest.mark.slow
def test_processes_change_nothing(tmp_path):
    smiles = ["CCO", "CC(=O)NC"]
    one = write_conformers(tmp_path / "one", smiles, 4, shard=2)
    two = write_conformers(tmp_path / "two", smiles, 4, shard=2, workers=2)
    np.testing.assert_array_equal(one.column("pos"), two.column("pos"))


def test_a_command_writes_a_set(tmp_path):
    from typer.testing import CliRunner

    from equicalc.cli import app

    file = tmp_path / "molecules.smi"
    file.write_text("CCO\nCCN\n")
    call = [
        "data",
        "conformers",
        str(file),
        "C",
        "-n",
        "3",
        "-o",
        str(tmp_path / "set"),
    ]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.stdout
    assert len(PackedDataset(tmp_path / "set")) == 3
    other = [*call, "--seed", "1"]
    assert CliRunner().invoke(app, other).exit_code == 2  # never overwritten
