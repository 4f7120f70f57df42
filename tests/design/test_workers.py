"""Local processes and a Dask cluster do the same work, even if a worker dies."""

import inspect
import operator
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import write

from equicalc.crystals import MolecularCrystal, label_crystals
from equicalc.design import (
    Composition,
    Conformers,
    Design,
    Files,
    Goal,
    Progress,
    Properties,
    RunDatabase,
    Score,
    Unique,
    Workers,
    run,
)
from equicalc.labelling import LabelOptions, Source, label

SMILES = ["C" * n + end for n in range(2, 14) for end in ("O", "=O", "N", "#N")]


@pytest.fixture
def design(tmp_path):
    """Every kind of task: chunks, a choice, an expansion."""
    (tmp_path / "molecules.smi").write_text("\n".join(SMILES))

    def design(name):
        return Design(
            output=tmp_path / name,
            molecules=len(SMILES),
            source=Files(paths=(tmp_path / "molecules.smi",)),
            steps=(
                Composition(heavy_atoms=(2, 9)),
                Unique(),
                Conformers(n=2),
                Properties(names=("gap",)),
                Score(goals={"gap": Goal(weight=1.0)}),
            ),
        )

    return design


def test_this_process_does_the_work_in_order():
    with Workers() as workers:
        assert list(workers.map(operator.neg, [1, 2])) == [-1, -2]


def test_negative_numbers_are_refused():
    with pytest.raises(ValueError, match="workers = -1"):
        Workers(-1)


def test_a_missing_scheduler_is_named():
    pytest.importorskip("distributed")
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        pytest.raises(ValueError, match="no Dask scheduler answers"),
        Workers(scheduler=address, patience=1),
    ):
        pass


def test_a_process_that_joblib_replaces_is_no_matter():
    """It takes networks that were loaded for a leak, and says so from a thread."""
    from joblib.externals.loky import process_executor

    message = "A worker stopped while some jobs were given"
    assert message in inspect.getsource(process_executor)
    with Workers(2):
        warnings.warn(message, UserWarning, stacklevel=1)
    with pytest.raises(UserWarning, match="A worker stopped"):
        warnings.warn(message, UserWarning, stacklevel=1)


@pytest.mark.slow
def test_local_processes_do_the_same(design, same_records):
    run(design("alone"))
    run(design("pool"), Workers(2))
    databases = [RunDatabase(design(n).output / "run.db") for n in ("alone", "pool")]
    assert same_records(*databases)


@pytest.mark.slow
def test_an_error_of_the_design_comes_through():
    with Workers(2) as workers, pytest.raises(ZeroDivisionError):
        list(workers.map(partial(operator.truediv, 1), [1, 2, 0]))


@pytest.mark.slow
def test_a_dask_cluster_survives_the_death_of_a_worker(design, same_records):
    pytest.importorskip("distributed")
    run(design("alone"))
    with cluster(n_workers=2) as (address, workers):
        killed = []

        def kill(now: Progress):
            if "properties" in now.stage and now.done and not killed:
                os.kill(workers[0].pid, signal.SIGKILL)
                killed.append(now)

        run(design("cluster"), Workers(scheduler=address), kill)
    assert killed
    assert killed[0].done < killed[0].total
    assert workers[0].wait() == -signal.SIGKILL
    databases = [RunDatabase(design(n).output / "run.db") for n in ("alone", "cluster")]
    assert same_records(*databases)


@pytest.mark.slow
def test_a_dask_cluster_labels_crystals(tmp_path):
    pytest.importorskip("distributed")
    lengths = (5.0, 5.5, 6.0, 6.5)
    poses = [[a, a, 5, 90, 90, 90, 0, 0, 0, 0.2, 0.4, 0.1] for a in lengths]
    water = molecule("H2O")
    crystals = [MolecularCrystal.from_parameters(water, 1, pose) for pose in poses]
    write(tmp_path / "x.extxyz", [crystal.to_atoms() for crystal in crystals])
    files = [tmp_path / "x.extxyz"]
    alone = label_crystals(files, tmp_path / "alone.db", "lj")
    with cluster(n_workers=2) as (address, _):
        there = label_crystals(files, tmp_path / "l.db", "lj", scheduler=address)
    assert [row.status for row in there] == ["ok"] * 4
    for one, other in zip(alone, there):
        assert one.values == pytest.approx(other.values)


@pytest.mark.slow
def test_a_dask_cluster_labels_the_same_structures(tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "molecules.smi").write_text("O\nN\nCO\n")
    source = Source(path=str(tmp_path / "molecules.smi"), frames=3)

    def options(name):
        return LabelOptions(
            sources=(source,), out=str(tmp_path / name), calculator="emt", workers=1
        )

    alone = label(options("alone"))
    with cluster(n_workers=2) as (address, _):
        there = label(options("there"), scheduler=address)
    for file in alone.glob("*.npy"):
        assert (there / file.name).read_bytes() == file.read_bytes()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def cluster(n_workers):
    """A scheduler and workers on loopback, each one process of one thread."""
    address = f"tcp://127.0.0.1:{free_port()}"
    host, port = address.removeprefix("tcp://").split(":")
    with ExitStack() as stack:
        serve = ["scheduler", "--host", host, "--port", port, "--no-dashboard"]
        stack.enter_context(dask(*serve))
        wait_for_port(host, int(port))
        work = ["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        yield address, [stack.enter_context(dask(*work)) for _ in range(n_workers)]


@contextmanager
def dask(*arguments):
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_port(host, port):
    for _ in range(600):
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the scheduler does not start")
