"""The database gives back what it got, once, on SQLite and on PostgreSQL."""

import os
import sqlite3
import uuid

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from equicalc.design import Record, RunDatabase, run

SERVER = os.environ.get("EQUICALC_TEST_POSTGRES")
postgres = pytest.param(
    "postgresql",
    marks=[
        pytest.mark.postgres,
        pytest.mark.skipif(not SERVER, reason="EQUICALC_TEST_POSTGRES is not set"),
    ],
)


@pytest.fixture
def postgres_url():
    """An empty database on the server, dropped afterwards."""
    from psycopg2 import connect, sql

    name = f"equicalc_{uuid.uuid4().hex[:12]}"
    server = connect(SERVER)
    server.autocommit = True
    cursor = server.cursor()
    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield f"{SERVER.rpartition('/')[0]}/{name}"
    drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
    cursor.execute(drop.format(sql.Identifier(name)))
    server.close()


@pytest.fixture(params=["sqlite", postgres])
def where(request, tmp_path):
    if request.param == "sqlite":
        return tmp_path / "run.db"
    return request.getfixturevalue("postgres_url")


def crystal():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.info = {
        "score": 1 / 3,
        "smiles": "F",  # which ASE could take for a truth value
        "dipole": 0.1,  # which ASE keeps for itself
        "converged": True,
        "rings": 2,
        "embedding": np.linspace(0, 1 / 7, 5),
    }
    atoms.set_array("gen_logp", np.array([-1 / 3, -0.5]))
    return atoms


def test_everything_comes_back(where, same_records):
    database = RunDatabase(where)
    one = Record("000-000001", crystal(), 0, 5, ("000-000000",), 1, 2, step="pack")
    two = Record("000-000002", molecule("H2O"), 0, 6).rejected("valid", "wet")
    database.write([two, one])

    class Given:
        def records(self):
            return [one, two]

    assert same_records(database, Given())


def test_writing_again_replaces(where):
    database = RunDatabase(where)
    record = Record("000-000000", molecule("H2O"), 0, 0)
    for _ in range(2):
        database.write([record])
    database.write([record.rejected("relax", "bonds changed")])
    [found] = RunDatabase(where).records()
    assert (found.status, found.reason) == ("rejected", "bonds changed")
    assert database.keys(status="alive") == set()


def test_a_write_that_fails_leaves_nothing(where):
    database = RunDatabase(where)
    database.write([Record("000-000000", molecule("H2O"), 0, 0)])
    bad = Atoms("H")
    bad.info["what"] = object()
    with pytest.raises((AttributeError, TypeError)):
        database.write(
            [
                Record("000-000001", molecule("H2O"), 0, 0),
                Record("000-000002", bad, 0, 0),
            ]
        )
    assert RunDatabase(where).keys() == {"000-000000"}


def test_settings_are_kept(where):
    RunDatabase(where).settings = {"design": {"seed": 1}}
    assert RunDatabase(where).settings == {"design": {"seed": 1}}


def test_the_database_itself_refuses_doubles(tmp_path):
    database = RunDatabase(tmp_path / "run.db")
    database.write([Record("000-000000", molecule("H2O"), 0, 0)])
    connection = sqlite3.connect(tmp_path / "run.db")
    with pytest.raises(sqlite3.IntegrityError, match="unique_id"):
        connection.execute("insert into systems (unique_id) values ('000-000000')")
    connection.close()


def test_structures_can_be_selected_by_scores(where):
    from ase.db import connect

    RunDatabase(where).write([Record("000-000000", crystal(), 3, 0)])
    rows = connect(str(where))
    assert rows.count("score>0.3,round=3") == 1
    assert rows.count("score>0.4") == 0


def test_other_files_are_refused():
    with pytest.raises(ValueError, match=r"\.db, or postgresql"):
        RunDatabase("run.extxyz")


def test_a_run_is_the_same_on_both(where, toy, tmp_path, same_records):
    run(toy.design(tmp_path / "sqlite", rounds=1))
    design = toy.design(tmp_path / "other", rounds=1)
    database = None if str(where).endswith(".db") else where
    run(design.model_copy(update={"database": database}))
    other = RunDatabase(database or tmp_path / "other" / "run.db")
    assert same_records(other, RunDatabase(tmp_path / "sqlite" / "run.db"))
