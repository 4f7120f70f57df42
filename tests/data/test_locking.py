"""Two processes never write to the same place."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from ase.build import molecule

from equicalc.data import open_dataset, write_packed
from equicalc.data.locking import locked

WATER = {"z": [8, 1, 1], "pos": np.eye(3)}


HOLD = """
import sys, time
from equicalc.data.locking import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other():
    """Start a process that holds the lock of a path until it is killed."""
    started = []

    def start(path):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", [".", "file.extxyz"])
def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, other, name):
    path = tmp_path / name
    process = other(path)
    with pytest.raises(ValueError, match="another process is working in"), locked(path):
        pass
    process.kill()
    process.wait()
    with locked(path):  # what the killed one left is no obstacle
        pass
    assert list(tmp_path.iterdir()) == []


def test_waiting_writers_take_turns(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")

    def count():
        for _ in range(20):
            with locked(counter, wait=True):
                number = int(counter.read_text())
                time.sleep(0.0005)
                counter.write_text(str(number + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read_text() == "80"
    assert list(tmp_path.iterdir()) == [counter]


def test_a_file_system_without_locks_is_used_with_a_warning(
    tmp_path, monkeypatch, caplog
):
    def unsupported(*_):
        raise OSError(95, "not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with locked(tmp_path):
        pass
    assert "cannot be locked" in caplog.text


def test_a_set_packed_by_another_process_meanwhile_is_taken(tmp_path, monkeypatch):
    source, cache = tmp_path / "water.xyz", tmp_path / "cache"
    molecule("H2O").write(source)

    def slower(path, records, meta):
        write_packed(path, [WATER, WATER])  # the other process comes first
        write_packed(path, records, meta)

    monkeypatch.setattr("equicalc.data.readers.write_packed", slower)
    assert len(open_dataset(source, cache=cache)) == 2


def test_a_set_never_replaces_one_that_appeared_while_it_was_written(tmp_path):
    def records():
        yield WATER
        write_packed(tmp_path / "set", [WATER])

    with pytest.raises(FileExistsError, match="another process"):
        write_packed(tmp_path / "set", records())
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
