"""Replayed steps are the potential's own; what fails is given up."""

import copy
import logging

import pytest
import torch

from equicalc.graph import collate
from equicalc.models import Potential, ReplayedPotential, evaluate, padded, replayed

EVERYTHING = ("energy", "energies", "forces", "embedding", "charges", "dipole")


class Rerun:
    """In place of a CUDA graph: the step, on the same arrays, into the same arrays."""

    def __init__(self, step, device):
        self.step, self.waits, self.results = step, 0, step()

    def wait(self):
        self.waits += 1

    def replay(self):
        for name, value in self.step().items():
            self.results[name].copy_(value)
        return {name: value.clone() for name, value in self.results.items()}


class Unrecordable(Rerun):
    def __init__(self, step, device):
        raise RuntimeError("operation not permitted when stream is capturing\nat ...")


class Stale(Rerun):
    """What was recorded has a value in it that it should read every time."""

    def replay(self):
        return {name: value.clone() for name, value in self.results.items()}


def corrupted(name, by, after=0):
    class Corrupted(Rerun):
        count = 0

        def replay(self):
            results = super().replay()
            results[name][0] += by * (self.count >= after)
            self.count += 1
            return results

    return Corrupted


def failing(after):
    class Failing(Rerun):
        def replay(self):
            if self.waits > after:
                raise RuntimeError
            return super().replay()

    return Failing


def test_every_replay_is_the_potential(potential, cluster, crystal, assert_same, shape):
    """Other positions, elements, numbers of edges and cells; checked ones and not."""
    engine = ReplayedPotential(potential(**shape), Rerun)
    graphs = [cluster(9), cluster(9, 1.3), crystal(6), crystal(6, 3.6), cluster(9, 0.7)]
    graphs += [cluster(9, 1.35), crystal(5, 3.4), cluster(4), cluster(2)]
    for graph in graphs:
        assert_same(engine, graph)
    assert engine.replays == len(graphs)
    assert engine.recordings < 4


def test_close_in_single_precision(potential, cluster, assert_same):
    engine = ReplayedPotential(potential(dtype=torch.float32, channels=16), Rerun)
    for _ in range(4):
        assert_same(engine, cluster(20), 1e-4)
    assert engine.replays == 4


def test_room_grows_when_it_has_to_and_never_shrinks(potential, cluster, assert_same):
    engine = ReplayedPotential(potential(), Rerun)
    recordings = []
    for n_atoms in (4, 4, 5, 20, 4, 21, 20, 40):
        assert_same(engine, cluster(n_atoms))
        recordings.append(engine.recordings)
    assert recordings == [1, 1, 1, 2, 2, 2, 2, 3]
    assert engine._recorded
    room, _ = engine._recorded
    assert 40 < room.n_atoms <= padded.SPARE * 40 + padded.MORE


def test_new_recordings_are_compared(potential, cluster, assert_same, monkeypatch):
    compared = []
    check = replayed.check_same
    monkeypatch.setattr(
        replayed, "check_same", lambda *a: compared.append(len(a[1])) or check(*a)
    )
    engine = ReplayedPotential(potential(), Rerun)
    for n_atoms in (3, 3, 3, 3, 20, 3, 20):
        assert_same(engine, cluster(n_atoms))
    assert len(compared) == 2 * replayed.CHECKS


@pytest.mark.parametrize(
    "graph",
    [
        lambda cluster, _: cluster(0),
        lambda cluster, _: cluster(1),
        lambda cluster, _: cluster(3, spacing=9.0),
        lambda cluster, _: collate([cluster(4), cluster(3)]),
        lambda _, crystal: crystal(30, 6.0),
    ],
    ids=["no atom", "one atom", "no edges", "batch", "large"],
)
def test_what_is_not_replayed_is_the_potential_too(
    potential, cluster, crystal, assert_same, graph, monkeypatch
):
    monkeypatch.setattr(replayed, "FEW", 300)
    engine = ReplayedPotential(potential(), Rerun)
    assert_same(engine, graph(cluster, crystal))
    assert (engine.replays, engine.recordings) == (0, 0)


def test_results_outlive_the_next_step(potential, cluster):
    engine, graph = ReplayedPotential(potential(), Rerun), cluster(5)
    for _ in range(3):
        kept = evaluate(engine, graph, EVERYTHING)
        copies = {name: value.clone() for name, value in kept.items()}
        evaluate(engine, graph.clone().update({"pos": 1.1 * graph["pos"]}), EVERYTHING)
        assert all(torch.equal(kept[name], copies[name]) for name in EVERYTHING)


def test_input_errors_are_errors_and_harm_nothing(potential, cluster, assert_same):
    engine, graph = ReplayedPotential(potential(), Rerun), cluster(5)
    assert_same(engine, graph)
    unsorted = graph.clone().update({"edge_index": graph["edge_index"].flip(1)})
    with pytest.raises(ValueError, match="not sorted by receiver"):
        evaluate(engine, unsorted)
    with pytest.raises(ValueError, match=r"\[79\] are unknown"):
        evaluate(engine, graph.clone().update({"z": torch.full((5,), 79)}))
    assert_same(engine, graph)
    assert engine.replays == 2


def test_second_derivatives_are_the_potentials(potential, cluster):
    engine, graph = ReplayedPotential(potential(), Rerun), cluster(4)
    found, wanted = (evaluate(m, graph, ["hessian"]) for m in (engine, engine.model))
    torch.testing.assert_close(found["hessian"], wanted["hessian"])
    assert engine.replays == 0


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_what_suits_its_device(potential, copied):
    other = copied(ReplayedPotential(potential(), Rerun))
    assert isinstance(other, Potential)  # on a CPU nothing is replayed


def test_nothing_is_replayed_on_a_cpu(potential):
    assert ReplayedPotential.build(potential()) is None


def test_threads_share_an_engine(potential, cluster, in_threads):
    engine = ReplayedPotential(potential(), Rerun)
    graphs = [cluster(n) for n in (3, 9, 5, 7)]
    wanted = [evaluate(engine.model, graph)["forces"] for graph in graphs]
    errors = []

    def work(k):
        for _ in range(10):
            forces = evaluate(engine, graphs[k])["forces"]
            errors.append(float((forces - wanted[k]).abs().max()))

    in_threads(work, len(graphs))
    assert len(errors) == engine.replays == 40
    assert max(errors) < 1e-11


@pytest.mark.parametrize(
    ("record", "reason", "replays"),
    [
        (Unrecordable, "not permitted when stream is capturing", 0),
        (Stale, "energies of a replay differ", 1),
        (corrupted("gradient", 1e-6), "gradient of a replay differ", 1),
        (corrupted("energies", 1e-6), "energies of a replay differ", 1),
        (corrupted("charges", torch.nan), "charges of a replay differ by nan", 1),
        (corrupted("dipole", 1e-3, after=1), "dipole of a replay differ", 2),
        (failing(0), "RuntimeError", 0),
        (failing(5), "RuntimeError", 5),
    ],
)
def test_what_fails_or_differs_is_given_up_for_good(
    potential, cluster, assert_same, record, reason, replays, caplog
):
    engine = ReplayedPotential(potential(), record)
    with caplog.at_level(logging.WARNING):
        for _ in range(8):
            assert_same(engine, cluster(6))
    [message] = [record.getMessage() for record in caplog.records]
    assert reason in message
    assert "\n" not in message
    assert engine.replays == replays
    assert engine._recorded is None


def test_results_that_are_not_finite_prove_nothing(
    potential, cluster, assert_same, caplog
):
    engine = ReplayedPotential(potential(), Rerun)
    broken = cluster(6)
    broken["pos"][0] = torch.nan
    for _ in range(3):
        assert evaluate(engine, broken)["forces"].isnan().any()
    assert engine._to_check == replayed.CHECKS
    assert_same(engine, cluster(6))
    assert not caplog.records
