"""Labelling runs: nothing finished is lost, whatever happens."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rdkit")

from equicalc.calculators import named_calculator
from equicalc.data import PackedDataset
from equicalc.labelling import (
    LabelOptions,
    Progress,
    Source,
    label,
    pack_shards,
    shards,
)
from equicalc.labelling.pool import label_units, usable_cores
from equicalc.labelling.sampling import KINDS, Unit, frames
from equicalc.labelling.shards import finished_files
from equicalc.labelling.worker import Result, Task, label_unit

MISBEHAVING = """
import os, time
from ase.calculators.lj import LennardJones

class Slow(LennardJones):
    def calculate(self, *args, **kwargs):
        time.sleep(0.01)
        super().calculate(*args, **kwargs)

class Dies(LennardJones):
    def calculate(self, atoms, *args, **kwargs):
        if 7 in atoms.numbers:
            os._exit(7)
        super().calculate(atoms, *args, **kwargs)

class Hangs(LennardJones):
    def calculate(self, atoms, *args, **kwargs):
        if 7 in atoms.numbers:
            time.sleep(1000)
        super().calculate(atoms, *args, **kwargs)

class Fails(LennardJones):
    def calculate(self, atoms, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        if 7 in atoms.numbers:
            raise RuntimeError("no convergence")
        if 9 in atoms.numbers:
            self.results["forces"][0, 0] = float("nan")
"""


@pytest.fixture
def options(tmp_path):
    file = tmp_path / "molecules.smi"
    file.write_text("O\nCO\nN\nCF\n")
    return LabelOptions(
        (Source(str(file), frames=6),),
        str(tmp_path / "out"),
        calculator="lj",
        workers=1,
        dimers=2,
        clusters=1,
        shard_units=2,
        single_atoms=False,
        max_force=1e9,
    )


@pytest.fixture
def misbehaving(tmp_path, monkeypatch):
    (tmp_path / "misbehaving.py").write_text(MISBEHAVING)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def in_process(monkeypatch):
    """Label without worker processes, which take long to start."""

    def label_units(units, task, n_workers):
        for unit in units:
            result = Result(unit)
            for outcome in label_unit(unit, named_calculator(task.calculator), task):
                result.add(outcome)
            yield result

    monkeypatch.setattr("equicalc.labelling.run.label_units", label_units)


def arrays(packed):
    return {file.name: np.load(file) for file in Path(packed).glob("*.npy")}


def failures(out):
    return [
        json.loads(s) for s in (Path(out) / "failures.jsonl").read_text().splitlines()
    ]


def test_finished_run_is_a_packed_data_set(options):
    seen = []
    packed = label(options, lambda progress: seen.append(progress.units), "command")
    data = PackedDataset(packed)
    assert len(data) == 4 * 6 + 2 * 6 + 5
    assert data.meta["command"] == "command"
    assert data.meta["kinds"] == list(KINDS)
    assert seen == list(range(1, 8))
    assert failures(options.out) == []
    assert label(options) == packed  # nothing left to do
    assert len(seen) == 7


def test_run_of_other_options_is_not_mixed_in(options):
    label(options)
    with pytest.raises(ValueError, match="another seed, plan"):
        label(replace(options, seed=1))


def test_other_groups_are_refused_and_a_run_that_noted_none_goes_on(options):
    packed = label(options)
    file = Path(options.out) / "plan.json"
    content = json.loads(file.read_text())
    del content["choices"]["groups"]
    file.write_text(json.dumps(content))
    assert label(options) == packed
    content["choices"]["groups"] = "others"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="another groups"):
        label(options)


def kill_when(options, folder, n_files):
    """Label in another process and kill it when so many files are finished."""
    script = folder / "killed.py"
    script.write_text(
        "from equicalc.labelling import LabelOptions, Source, label\n"
        f"if __name__ == '__main__':\n    label({options!r})\n"
    )
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(folder)])
    process = subprocess.Popen(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": path}
    )
    out = Path(options.out)
    while len(finished_files(out)) < n_files and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "packed").exists()


def test_killed_run_loses_nothing_finished_and_resumes_bit_for_bit(
    options, misbehaving
):
    options = replace(options, calculator="misbehaving:Slow", workers=2, shard_units=5)
    whole = arrays(label(replace(options, out=f"{options.out}-whole", workers=1)))
    kill_when(options, misbehaving, n_files=2)
    out = Path(options.out)
    partial = len(PackedDataset(pack_shards(out, out / "partial")))
    assert 0 < partial < len(whole["n_atoms.npy"])
    (out / "failures.jsonl").unlink()  # written anew

    seen: list[Progress] = []
    resumed = arrays(label(options, lambda now: seen.append(replace(now))))
    assert seen[0].units > 2
    assert seen[-1].structures == len(whole["n_atoms.npy"]) - partial
    assert failures(out) == []
    assert len(finished_files(out)) == 2
    assert resumed.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed[name], values)


@pytest.mark.parametrize(
    ("calculator", "timeout", "reason"),
    [("Dies", 100.0, "exit code 7"), ("Hangs", 8.0, "no structure within 8 s")],
)
def test_lost_workers_are_replaced_and_recorded(
    options, misbehaving, calculator, timeout, reason
):
    options = replace(options, calculator=f"misbehaving:{calculator}", timeout=timeout)
    data = PackedDataset(label(replace(options, dimers=0, clusters=0)))
    assert len(data) == 3 * 6
    (line,) = failures(options.out)
    assert line["molecule"] == "N"
    assert reason in line["reason"]


def test_failed_structures_are_recorded(options, misbehaving):
    options = replace(options, calculator="misbehaving:Fails", dimers=0, clusters=0)
    data = PackedDataset(label(options))
    assert len(data) == 2 * 6
    reasons = Counter((f["molecule"], f["reason"]) for f in failures(options.out))
    assert reasons["N", "RuntimeError: no convergence"] >= 1
    assert reasons["CF", "ValueError: energy or forces are not finite"] >= 1


def test_failures_of_an_incomplete_shard_are_kept(options, misbehaving, in_process):
    options = replace(options, calculator="misbehaving:Fails", dimers=0, clusters=0)
    seen: list[Progress] = []

    def stop(now):
        seen.append(now)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(replace(options, shard_units=100), stop)
    before = failures(options.out)
    assert before
    label(replace(options, shard_units=100))
    assert all(line in failures(options.out) for line in before)


def test_units_all_done_but_not_merged_are_merged(options, monkeypatch, in_process):
    with monkeypatch.context() as patched:
        patched.setattr(shards, "merge_units", lambda _: None)
        packed = label(options)
    unmerged = arrays(packed)
    assert len(finished_files(Path(options.out))) == 7
    label(options)
    assert len(finished_files(Path(options.out))) == 4
    for name, values in arrays(packed).items():
        np.testing.assert_array_equal(unmerged[name], values)


def test_damaged_plan_is_named(options, in_process):
    label(options)
    plan = Path(options.out) / "plan.json"
    plan.write_text(plan.read_text()[:40])
    with pytest.raises(ValueError, match=r"plan\.json is damaged"):
        label(options)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_only_the_cores_lent_to_the_process_are_used():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_large_forces_are_left_out(options):
    kept = PackedDataset(label(options))
    limit = float(np.median([abs(g.forces).max() for g in kept]))
    options = replace(options, out=f"{options.out}-small", max_force=limit)
    small = PackedDataset(label(options))
    assert 0 < len(small) < len(kept)
    assert max(float(g.forces.norm(dim=1).max()) for g in small) <= limit * (1 + 1e-6)
    assert any("more than" in line["reason"] for line in failures(options.out))


def test_rejected_molecules_are_recorded(options):
    with Path(options.sources[0].path).open("a") as file:
        file.write("C1CC\n")
    label(options)
    (line,) = failures(options.out)
    assert line["molecule"] == "C1CC"
    assert "not a valid SMILES" in line["reason"]


def test_truncated_shard_is_named(options):
    label(options)
    out = Path(options.out)
    shard = finished_files(out)[1]
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(ValueError, match=rf"{shard.name} is not a whole shard"):
        label(options)
    shard.unlink()
    again = arrays(label(options))
    assert len(again["n_atoms.npy"]) == 41


def test_several_runs_make_one_data_set(options, tmp_path):
    other = replace(options, out=f"{options.out}-other", seed=5)
    one, two = PackedDataset(label(options)), PackedDataset(label(other))
    both = pack_shards([options.out, other.out], tmp_path / "both")
    assert len(PackedDataset(both)) == len(one) + len(two)


@pytest.mark.parametrize("number", [0, -3])
def test_runs_without_structures_are_refused(options, number):
    with pytest.raises(ValueError, match=f"frames = {number} of .*; give 1"):
        replace(options.sources[0], frames=number)
    with pytest.raises(ValueError, match=f"dimer_frames = {number}; give more"):
        replace(options, dimer_frames=number)


def test_bad_folders_are_errors(options, tmp_path):
    with pytest.raises(ValueError, match="not a labelling run"):
        pack_shards(tmp_path, tmp_path / "packed")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write"):
        label(replace(options, out=str(tmp_path / "file" / "out")))


def test_unknown_calculator_stops_before_any_work(options):
    with pytest.raises(ValueError, match="not known"):
        label(replace(options, calculator="gfn3"))
    assert not Path(options.out).exists()


def test_workers_that_cannot_start_are_an_error(monkeypatch):
    monkeypatch.setattr("equicalc.labelling.pool.STARTUP", 0.0)
    units = [Unit(0, "molecule", ("O",), 2, 1)]
    with pytest.raises(RuntimeError, match="__main__"):
        list(label_units(units, Task("lj", 0, 1e9, 9.0), 1))


def test_single_atoms_and_pairs_have_the_lowest_spin():
    for unit in (
        Unit(0, "atom", ("H", "C", "Cl"), 3, 0),
        Unit(1, "diatomic", ("H", "O"), 3, 0),
        Unit(2, "diatomic", ("C", "O"), 3, 0),
    ):
        for kind, atoms in frames(unit, None, 0):  # type: ignore[arg-type]
            assert kind == unit.kind
            odd = atoms.numbers.sum() % 2
            assert atoms.get_initial_magnetic_moments().sum() == odd


def test_gfn2_labels_are_the_calculators_own(options):
    pytest.importorskip("tblite")
    from ase import Atoms

    options = replace(options, calculator="gfn2", max_force=50.0)
    data = PackedDataset(label(options))
    assert {"energy", "forces", "dipole", "charges"} <= set(data.fields)
    graph = data[3]
    assert graph.pos is not None
    atoms = Atoms(graph.z.numpy(), graph.pos.double().numpy())
    atoms.calc = named_calculator("gfn2")
    assert float(graph.energy) == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(graph.forces, atoms.get_forces(), atol=5e-3)
    np.testing.assert_allclose(graph.dipole[0], atoms.get_dipole_moment(), atol=1e-3)
    np.testing.assert_allclose(graph.charges, atoms.get_charges(), atol=1e-3)


def test_crowds_are_squeezed_and_the_same_every_time():
    from ase.calculators.lj import LennardJones

    unit = Unit(0, "crowd", ("O", "C", "O"), 5, 0)
    first, again = (list(frames(unit, LennardJones(), seed=3)) for _ in range(2))
    assert [kind for kind, _ in first] == ["crowd"] * 5
    assert all(
        np.array_equal(a.positions, b.positions) for (_, a), (_, b) in zip(first, again)
    )
    bond = first[0][1].get_distance(0, 1)  # of water, not relaxed
    assert 0.75 * 0.95 < bond < 1.05 * 1.0
