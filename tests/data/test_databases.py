"""Databases outlive runs that were killed while they made them."""

import pytest
from ase.build import molecule
from ase.db import sqlite

from equicalc.data.databases import ase_database


def test_new_file_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "a.db"
    with monkeypatch.context() as killed:
        killed.setattr(sqlite, "init_statements", [*sqlite.init_statements[:3], "stop"])
        with pytest.raises(ValueError, match=r"a\.db cannot be made .*syntax"):
            ase_database(path)
    assert not path.exists()
    assert ase_database(path).count() == 0
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


def test_lock_file_of_a_killed_run_stops_nobody(tmp_path):
    path = tmp_path / "a.db"
    path.with_name("a.db.lock").touch()
    ase_database(path).write(molecule("H2O"))
    ase_database(path).write(molecule("NH3"))
    assert [row.formula for row in ase_database(path).select()] == ["H2O", "H3N"]


def test_other_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="type"):
        ase_database(tmp_path / "a.txt")
    assert not list(tmp_path.iterdir())
