"""A run learns, remembers everything, and goes on exactly after any stop."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from equicalc.design import (
    Design,
    Embed,
    LatticeEnergy,
    MissingError,
    MonteCarlo,
    Novel,
    Relax,
    RunDatabase,
    Score,
    Top,
    loop,
    run,
)

TOY = Path(__file__).parent / "toy.py"


class StopError(Exception):
    pass


def database(folder):
    return RunDatabase(folder / "run.db")


def test_every_structure_is_told_of(toy, tmp_path):
    best = run(toy.design(tmp_path))
    records = {record.key: record for record in database(tmp_path).records()}
    molecules = [key for key in records if "." not in key]
    assert len(molecules) == 2 * 8
    rejected = [r for r in records.values() if r.status == "rejected"]
    assert {r.step for r in rejected} >= {"Even", "top"}
    assert all(r.reason for r in rejected)
    bent = records["000-000000.b2"]
    assert bent.parents == ("000-000000",)
    assert records["000-000000"].status == "expanded"
    assert bent.atoms.info["bend"] == 2
    assert [r.atoms.info["rank"] for r in best] == list(range(1, len(best) + 1))


def test_variants_know_their_parents(toy, tmp_path):
    run(toy.design(tmp_path))
    later = database(tmp_path).records(round=1)
    parents = {r.parents for r in later if "." not in r.key}
    assert () in parents  # new ones
    keys = database(tmp_path).keys()
    assert {key for one in parents for key in one} <= keys


@pytest.mark.parametrize("search", [None, MonteCarlo()])
def test_scores_rise(toy, tmp_path, search):
    run(toy.design(tmp_path, rounds=5, search=search))
    found = [database(tmp_path).records(round=k, status="alive") for k in range(5)]
    best = [max((r.atoms.info["score"] for r in one), default=0.0) for one in found]
    assert max(best[2:]) > best[0] + 2


def test_rejected_structures_say_why(toy, tmp_path):
    run(toy.design(tmp_path))
    reasons = {r.reason for r in database(tmp_path).records(step="propose")}
    assert reasons <= {"", "cannot be varied"}


def test_a_stop_anywhere_changes_nothing(toy, tmp_path, same_records):
    """Stop in the 1st, 2nd, ... task of a run, again and again, until it is done."""
    run(toy.design(tmp_path / "whole"))
    for stop_after in (1, 4):
        folder = tmp_path / str(stop_after)
        for _ in range(100):
            try:
                run(toy.design(folder), progress=stopper(stop_after))
                break
            except StopError:
                pass
        assert same_records(database(folder), database(tmp_path / "whole"))


def stopper(n_tasks):
    """Let so many writes happen, then stop."""
    seen = []

    def progress(now):
        seen.append((now.round, now.stage, now.done))
        if len({*seen}) > len({(r, s) for r, s, _ in seen}) + n_tasks - 1:
            raise StopError

    return progress


def test_more_rounds_are_the_run_of_so_many_rounds(toy, tmp_path, same_records):
    run(toy.design(tmp_path / "at once", rounds=2))
    for rounds in (1, 2):
        run(toy.design(tmp_path / "later", rounds=rounds))
    assert same_records(database(tmp_path / "at once"), database(tmp_path / "later"))


def test_a_finished_run_does_nothing(toy, tmp_path, monkeypatch):
    first = run(toy.design(tmp_path))
    monkeypatch.setattr(RunDatabase, "write", lambda self, records: _nothing(records))
    again = run(toy.design(tmp_path))
    assert [r.key for r in again] == [r.key for r in first]


def _nothing(records):
    assert not list(records)


def test_another_design_is_refused(toy, tmp_path):
    run(toy.design(tmp_path, rounds=1))
    other = toy.design(tmp_path, rounds=1).model_copy(update={"seed": 4})
    with pytest.raises(ValueError, match="another seed"):
        run(other)


def test_a_changed_file_or_function_is_noticed(tmp_path):
    known = tmp_path / "known.smi"
    known.write_text("CCO\n")

    def design(function):
        steps = (Novel(known=known), Score(function=function))
        return Design(output=tmp_path / "run", steps=steps)

    first = design(lambda structures: [1.0 for _ in structures])
    assert first.contents() == first.contents()
    other = design(lambda structures: [2.0 for _ in structures])
    assert first.contents() != other.contents()
    before = first.contents()
    known.write_text("CCO\nCC\n")
    assert first.contents() != before


def test_a_run_that_did_not_note_contents_goes_on(tmp_path):
    known = tmp_path / "known.smi"
    known.write_text("CCO\n")
    design = Design(output=tmp_path / "run", steps=(Novel(known=known),))
    settings = {"design": design.choices(), "equicalc": "0"}
    found: Any = SimpleNamespace(settings=settings, where="run.db")
    loop._require_same(found, design)
    settings["contents"] = {str(known): "another"}
    with pytest.raises(ValueError, match=r"run\.db holds a run with another .*known"):
        loop._require_same(found, design)


def test_two_processes_are_refused(toy, tmp_path):
    def second(now):
        del now
        with pytest.raises(ValueError, match="another process"):
            run(toy.design(tmp_path))
        raise StopError

    with pytest.raises(StopError):
        run(toy.design(tmp_path), progress=second)


def test_a_step_without_what_it_needs_is_an_error(toy, tmp_path):
    design = toy.design(tmp_path)
    wrong = design.model_copy(update={"steps": (*design.steps, Top(n=1, by="gap"))})
    with pytest.raises(MissingError, match="gap"):
        run(wrong)


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (LatticeEnergy(method="exp7"), ValueError, "method 'exp7' is unknown"),
        (Relax(calculator="gfn9"), ValueError, "'gfn9' is not known"),
        (Embed(model="nothing"), FileNotFoundError, "nothing"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_made(
    toy, tmp_path, step, error, message
):
    design = toy.design(tmp_path)
    wrong = design.model_copy(update={"steps": (*design.steps, step)})
    with pytest.raises(error, match=message):
        run(wrong)
    assert len(database(tmp_path)) == 0


def test_molecules_have_no_lattice_energy(toy, tmp_path):
    design = toy.design(tmp_path)
    wrong = design.model_copy(update={"steps": (*design.steps, LatticeEnergy())})
    with pytest.raises(MissingError, match="an earlier step must pack"):
        run(wrong)


def test_kill_9_loses_nothing_and_doubles_nothing(toy, tmp_path, same_records):
    run(toy.design(tmp_path / "whole", seconds=0.01))
    killed = tmp_path / "killed"
    for rows in (9, 25):
        process = start(killed, seconds=0.01)
        wait_for(killed / "run.db", rows, process)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert len(database(killed)) >= rows
    assert start(killed, seconds=0.01).wait() == 0
    assert same_records(database(killed), database(tmp_path / "whole"))


def start(folder, seconds):
    root = Path(__file__).parents[2]
    command = [sys.executable, str(TOY), str(folder), str(seconds)]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths})


def wait_for(path, rows, process):
    """Wait until a database has so many rows."""
    while process.poll() is None:
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                [(n,)] = connection.execute("select count(*) from systems")
            connection.close()
            if n >= rows:
                return
        except sqlite3.OperationalError:  # not there yet, or busy
            pass
        time.sleep(0.01)
    raise AssertionError(f"ended by itself: {process.returncode}")
