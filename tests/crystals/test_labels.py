"""Labelling crystals: nothing finished is lost, one bad file stops nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase.build import bulk, molecule
from ase.db import connect
from ase.io import write

from equicalc.crystals import MolecularCrystal, label_crystals
from equicalc.crystals.labels import read_frames

ROOT = Path(__file__).parents[2]
SLOW = """
import sys, time
from equicalc.crystals import label_crystals

def slow(done, total, last):
    time.sleep(60 if last else 0)  # to be killed after the first

if __name__ == "__main__":
    label_crystals([sys.argv[1]], sys.argv[2], "lj", report=slow)
"""


def water(length):
    pose = [length, length, 5, 90, 90, 90, 0, 0, 0, 0.2, 0.4, 0.1]
    return MolecularCrystal.from_parameters(molecule("H2O"), 1, pose).to_atoms()


@pytest.fixture
def files(tmp_path):
    frames = [water(length) for length in (5.0, 5.5, 6.0, 6.5, 7.0, 7.5)]
    write(tmp_path / "good.extxyz", frames)
    write(tmp_path / "salt.cif", bulk("NaCl", "rocksalt", a=9.0))
    (tmp_path / "empty.cif").write_text("")
    return [tmp_path / name for name in ("salt.cif", "good.extxyz", "empty.cif")]


def test_bad_files_are_rows_with_their_reason(files, tmp_path):
    seen = []
    rows = label_crystals(
        files, tmp_path / "l.db", "lj", report=lambda *args: seen.append(args[:2])
    )
    assert [row.status for row in rows] == ["salt", *["ok"] * 6, "unreadable"]
    assert "empty.cif" in rows[-1].message
    assert rows[0].values == rows[-1].values == {}
    energies = [row.values["lattice_energy"] for row in rows[1:-1]]
    assert energies == sorted(energies)
    assert seen == [(n, 8) for n in range(9)]
    stored = list(connect(tmp_path / "l.db").select(status="ok"))
    assert {row.method for row in stored} == {"lj"}
    assert all(row.version.startswith("equicalc") for row in stored)
    assert stored[0].toatoms().pbc.all()


def test_frames_are_chosen(files):
    good = str(files[1])

    def names(index):
        return [name.removeprefix(good) for name, _, _ in read_frames([good + index])]

    assert names("@2") == ["@2"]
    assert names("@-1") == ["@5"]
    assert names("@1:3") == ["@1", "@2"]
    ((_, _, failed),) = read_frames([good + "@6"])
    assert failed is not None
    assert "no frame 6, of 6" in failed.message


def test_finished_crystals_are_not_done_again(files, tmp_path):
    first = label_crystals(files[:2], tmp_path / "l.db", "lj")
    seen = []
    again = label_crystals(
        files, tmp_path / "l.db", "lj", report=lambda *args: seen.append(args[0])
    )
    assert again[:7] == first
    assert seen == [7, 8]
    assert connect(tmp_path / "l.db").count() == 8
    label_crystals(files[:1], tmp_path / "l.db", "paper_soft")  # another method
    assert connect(tmp_path / "l.db").count() == 9


def test_a_file_given_twice_counts_once(tmp_path):
    write(tmp_path / "x.extxyz", water(6.0))
    rows = label_crystals([tmp_path / "x.extxyz"] * 2, tmp_path / "l.db", "lj")
    assert len(rows) == connect(tmp_path / "l.db").count() == 1


def test_what_has_changed_is_done_again(tmp_path):
    file, database = tmp_path / "x.extxyz", tmp_path / "l.db"
    write(file, water(6.0))
    [first] = label_crystals([file], database, "lj")
    write(file, water(6.5))
    [second] = label_crystals([file], database, "lj")
    assert second.values["density"] != first.values["density"]
    label_crystals([file], database, "lj", relax="molecule")
    [row] = connect(database).select()
    assert row.relax == "molecule"


def test_other_files_are_no_databases(files, tmp_path):
    (tmp_path / "l.db").write_text("hello, this is no database")
    with pytest.raises(ValueError, match="is no database"):
        label_crystals(files, tmp_path / "l.db", "lj")


def n_rows(database):
    """Rows of a database that another process is writing."""
    return connect(database).count() if database.exists() else 0


def test_killed_run_goes_on(files, tmp_path):
    script, database = tmp_path / "run.py", tmp_path / "l.db"
    script.write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, str(script), str(files[1]), str(database)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    while process.poll() is None and not n_rows(database):
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = n_rows(database)
    assert 0 < before < 6
    rows = label_crystals([files[1]], database, "lj")
    assert [row.status for row in rows] == ["ok"] * 6
    assert connect(database).count() == 6


def test_processes_give_the_same(files, tmp_path):
    alone = label_crystals(files, tmp_path / "a.db", "lj")
    assert label_crystals(files, tmp_path / "b.db", "lj", workers=2) == alone
