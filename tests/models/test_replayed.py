"""Replayed steps on padded arrays are the potential's own; what fails is given up."""

import copy
import logging
import threading

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from equicalc.graph import collate, make_graph
from equicalc.kernels import cpp
from equicalc.kernels.convolution import ops
from equicalc.models import (
    Potential,
    PotentialConfig,
    ReplayedPotential,
    evaluate,
    padded,
    replayed,
)
from equicalc.models.padded import Inputs, Room, take_step

CUTOFF = 3.0
EVERYTHING = ("energy", "energies", "forces", "embedding", "charges", "dipole")
SHAPES = {
    "vectors": {"ls": (0, 1)},
    "hidden radial layer": {"ls": (0, 1, 3), "radial_hidden": (6,)},
    "bare": {"dipole": False, "repulsion": False, "reference_energies": ()},
}


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


def potential(backend="auto", dtype=torch.float64, **changes):
    references = (-10.0, -40.0, -80.0)
    shape = {"layers": 2, "channels": 4, "reference_energies": references} | changes
    config = PotentialConfig(
        elements=(1, 6, 8), cutoff=CUTOFF, energy_scale=2.0, **shape
    )
    return Potential(config, backend).to(dtype).requires_grad_(False)


def cluster(n_atoms, spacing=1.1, cell=None, pbc=None):
    """Atoms of random elements near the points of a lattice."""
    z = torch.tensor([1, 6, 8])[torch.randint(0, 3, (n_atoms,))]
    sites = torch.cartesian_prod(*[torch.arange(4.0, dtype=torch.float64)] * 3)
    pos = spacing * sites[:n_atoms] + 0.3 * torch.rand(n_atoms, 3, dtype=torch.float64)
    graph = make_graph(z, pos, cell, pbc, cutoff=CUTOFF)
    return graph.update({"pos": pos})


def crystal(n_atoms, length=3.5):
    return cluster(n_atoms, cell=length * torch.eye(3), pbc=[True] * 3)


def inputs(model, graph):
    vectors = (
        graph["pos"][graph["edge_index"][0]] - graph["pos"][graph["edge_index"][1]]
    )
    return Inputs.of(model, graph, vectors)


def outputs_of(model, graph):
    names = EVERYTHING if model.config.dipole else EVERYTHING[:4]
    return (*names, "stress") if graph["pbc"].all() else names


def assert_same(engine, graph, tolerance=1e-12):
    names = outputs_of(engine.model, graph)
    found, wanted = evaluate(engine, graph, names), evaluate(engine.model, graph, names)
    for name in names:
        torch.testing.assert_close(
            found[name], wanted[name], rtol=tolerance, atol=tolerance, msg=name
        )


def in_threads(work, n):
    """Call it with 0 to n - 1, each in a thread of its own."""
    threads = [threading.Thread(target=work, args=(k,)) for k in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# ------------------------------------------------------------------ the padded arrays


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("more_atoms", "more_edges"), [(1, 0), (2, 1), (9, 300)])
def test_padding_changes_nothing(shape, backend, more_atoms, more_edges):
    model = potential(backend, **shape)
    for graph in (cluster(9), cluster(2), cluster(6, spacing=0.7)):
        given = inputs(model, graph)
        sizes = len(given.species) + more_atoms, len(given.vectors) + more_edges
        room = Room(model, *sizes)
        room.fill(given)
        found = room.cut(take_step(model, room.inputs), given)
        for name, value in take_step(model, given).items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-12, atol=1e-12, msg=name
            )


def test_a_smaller_structure_leaves_nothing_of_a_larger_one():
    model = potential()
    used, new = Room(model, 12, 150), Room(model, 12, 150)
    large, small = inputs(model, cluster(11)), inputs(model, cluster(4))
    used.fill(large)
    used.fill(small)
    new.fill(small)
    for a, b in zip(used.inputs, new.inputs, strict=True):
        assert torch.equal(a, b)


def test_padding_is_edges_in_no_row_beyond_the_cutoff():
    model, graph = potential(), cluster(5)
    given = inputs(model, graph)
    n_edges = len(given.vectors)
    room = Room(model, 8, n_edges + 6)
    room.fill(given)
    arrays = room.inputs
    assert (arrays.vectors[n_edges:].norm(dim=1) > CUTOFF).all()
    assert (arrays.src[n_edges:] == 7).all()
    assert (arrays.dst[n_edges:] == 7).all()
    assert (arrays.dst.diff() >= 0).all()
    for pointer in (arrays.dst_ptr, arrays.src_ptr):
        assert (pointer[5:] == n_edges).all()
    assert torch.equal(arrays.dst_ptr[:6], given.dst_ptr[:6])


@pytest.mark.skipif(cpp.find_compiler() is None, reason="there is no C++ compiler")
def test_what_no_loop_writes_reaches_no_result(monkeypatch):
    """Loops pass over padding: their arrays keep what was in memory there."""
    model, graph = potential(), cluster(7)
    given = inputs(model, graph)
    wanted = take_step(model, given)
    room = Room(model, 20, len(given.vectors) + 50)
    room.fill(given)
    make = ops._results
    monkeypatch.setattr(
        ops, "_results", lambda *a: tuple(t.fill_(torch.nan) for t in make(*a))
    )
    results = take_step(model, room.inputs)
    assert results["gradient"][len(given.vectors) :].isnan().any()
    for name, value in room.cut(results, given).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-12, atol=1e-12)


class Calls(TorchDispatchMode):
    """Names of all operations, those on tensors that the host makes among them."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


#: Read a value, have a size that depends on one, or copy from the host's memory.
WAITING = {
    "_local_scalar_dense",
    "equal",
    "is_nonzero",
    "lift_fresh",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
    "_unique2",
}


@pytest.mark.skipif(cpp.find_compiler() is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_step_never_waits_for_the_device(shape):
    model = potential(**shape)
    given = inputs(model, cluster(5))
    with Calls() as calls:
        take_step(model, given)
    assert {"uvu", "uvu_backward", "spherical_harmonics_backward"} <= calls.names
    assert not calls.names & WAITING
    with Calls() as calls:  # the same eyes see what waits
        inputs(model, cluster(5))
        model.references()
    assert {"is_nonzero", "lift_fresh"} & calls.names & WAITING


# ------------------------------------------------------------------------- the engine


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_replay_is_the_potential(shape):
    """Other positions, elements, numbers of edges and cells; checked ones and not."""
    engine = ReplayedPotential(potential(**shape), Rerun)
    graphs = [cluster(9), cluster(9, 1.3), crystal(6), crystal(6, 3.6), cluster(9, 0.7)]
    graphs += [cluster(9, 1.35), crystal(5, 3.4), cluster(4), cluster(2)]
    for graph in graphs:
        assert_same(engine, graph)
    assert engine.replays == len(graphs)
    assert engine.recordings < 4


def test_close_in_single_precision():
    engine = ReplayedPotential(potential(dtype=torch.float32, channels=16), Rerun)
    for _ in range(4):
        assert_same(engine, cluster(20), 1e-4)
    assert engine.replays == 4


def test_room_grows_when_it_has_to_and_never_shrinks():
    engine = ReplayedPotential(potential(), Rerun)
    recordings = []
    for n_atoms in (4, 4, 5, 20, 4, 21, 20, 40):
        assert_same(engine, cluster(n_atoms))
        recordings.append(engine.recordings)
    assert recordings == [1, 1, 1, 2, 2, 2, 2, 3]
    assert engine._recorded
    room, _ = engine._recorded
    assert 40 < room.n_atoms <= padded.SPARE * 40 + padded.MORE


def test_new_recordings_are_compared(monkeypatch):
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
        lambda: cluster(0),
        lambda: cluster(1),
        lambda: cluster(3, spacing=9.0),
        lambda: collate([cluster(4), cluster(3)]),
        lambda: crystal(30, 6.0),
    ],
    ids=["no atom", "one atom", "no edges", "batch", "large"],
)
def test_what_is_not_replayed_is_the_potential_too(graph, monkeypatch):
    monkeypatch.setattr(replayed, "FEW", 300)
    engine = ReplayedPotential(potential(), Rerun)
    assert_same(engine, graph())
    assert (engine.replays, engine.recordings) == (0, 0)


def test_results_outlive_the_next_step():
    engine, graph = ReplayedPotential(potential(), Rerun), cluster(5)
    for _ in range(3):
        kept = evaluate(engine, graph, EVERYTHING)
        copies = {name: value.clone() for name, value in kept.items()}
        evaluate(engine, graph.clone().update({"pos": 1.1 * graph["pos"]}), EVERYTHING)
        assert all(torch.equal(kept[name], copies[name]) for name in EVERYTHING)


def test_input_errors_are_errors_and_harm_nothing():
    engine, graph = ReplayedPotential(potential(), Rerun), cluster(5)
    assert_same(engine, graph)
    unsorted = graph.clone().update({"edge_index": graph["edge_index"].flip(1)})
    with pytest.raises(ValueError, match="not sorted by receiver"):
        evaluate(engine, unsorted)
    with pytest.raises(ValueError, match=r"\[79\] are unknown"):
        evaluate(engine, graph.clone().update({"z": torch.full((5,), 79)}))
    assert_same(engine, graph)
    assert engine.replays == 2


def test_second_derivatives_are_the_potentials():
    engine, graph = ReplayedPotential(potential(), Rerun), cluster(4)
    found, wanted = (evaluate(m, graph, ["hessian"]) for m in (engine, engine.model))
    torch.testing.assert_close(found["hessian"], wanted["hessian"])
    assert engine.replays == 0


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_what_suits_its_device(copied):
    other = copied(ReplayedPotential(potential(), Rerun))
    assert isinstance(other, Potential)  # on a CPU nothing is replayed


def test_nothing_is_replayed_on_a_cpu():
    assert ReplayedPotential.build(potential()) is None


def test_threads_share_an_engine():
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


# ------------------------------------------------------------------------ giving it up


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
def test_what_fails_or_differs_is_given_up_for_good(record, reason, replays, caplog):
    engine = ReplayedPotential(potential(), record)
    with caplog.at_level(logging.WARNING):
        for _ in range(8):
            assert_same(engine, cluster(6))
    [message] = [record.getMessage() for record in caplog.records]
    assert reason in message
    assert "\n" not in message
    assert engine.replays == replays
    assert engine._recorded is None


def test_results_that_are_not_finite_prove_nothing(caplog):
    engine = ReplayedPotential(potential(), Rerun)
    broken = cluster(6)
    broken["pos"][0] = torch.nan
    for _ in range(3):
        assert evaluate(engine, broken)["forces"].isnan().any()
    assert engine._to_check == replayed.CHECKS
    assert_same(engine, cluster(6))
    assert not caplog.records


# ------------------------------------------------------------------------ on the device


def on_device(graph):
    return graph.to("cuda")


@pytest.fixture
def engine():
    found = ReplayedPotential.build(potential().cuda())
    assert found is not None
    return found


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_graphs_are_the_potential_on_the_device(shape, dtype, caplog):
    engine = ReplayedPotential.build(potential(dtype=dtype, **shape).cuda())
    assert engine is not None
    graphs = [cluster(9), cluster(9, 1.3), crystal(6), cluster(9, 0.7), cluster(4)]
    graphs += [cluster(40), cluster(36, 1.2), crystal(5, 3.4)]
    for graph in graphs:
        assert_same(engine, on_device(graph), 1e-11 if dtype is torch.float64 else 1e-4)
    assert not caplog.records
    assert engine.replays == len(graphs)
    assert engine.recordings < 4


@pytest.mark.gpu
def test_threads_and_streams_share_a_graph(engine):
    graphs = [on_device(cluster(n)) for n in (3, 9, 5, 7)]
    wanted = [evaluate(engine.model, graph)["forces"] for graph in graphs]
    torch.cuda.synchronize()
    errors = []

    def work(k):
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(20):
                forces = evaluate(engine, graphs[k])["forces"]
                errors.append(float((forces - wanted[k]).abs().max()))

    in_threads(work, len(graphs))
    assert len(errors) == engine.replays == 80
    assert max(errors) < 1e-10


@pytest.mark.gpu
def test_what_waits_cannot_be_recorded_and_is_given_up(engine, monkeypatch, caplog):
    outputs, stream = engine.model.outputs, torch.cuda.current_stream()

    def waiting(*args):
        out = outputs(*args)
        out["energies"].sum().item()
        return out

    monkeypatch.setattr(engine.model, "outputs", waiting)
    for n_atoms in (4, 5):
        assert_same(engine, on_device(cluster(n_atoms)), 1e-11)
    assert len(caplog.records) == 1
    assert engine.replays == 0
    assert torch.cuda.current_stream() == stream
    assert torch.rand(3, device="cuda").max() < 1  # the device goes on to work
    other = ReplayedPotential.build(potential().cuda())
    assert other is not None
    assert_same(other, on_device(cluster(4)), 1e-11)
    assert other.replays == 1


@pytest.mark.gpu
def test_a_value_that_stuck_in_a_graph_is_noticed(engine, monkeypatch, caplog):
    outputs = engine.model.outputs
    stuck = []

    def remembering(graph, vectors, *args):
        stuck.append(vectors.detach().clone())
        return outputs(
            graph, stuck[0] + 0 * vectors if len(stuck) == 4 else vectors, *args
        )

    monkeypatch.setattr(engine.model, "outputs", remembering)
    assert_same(engine, on_device(cluster(4)), 1e-11)
    assert "differ" in caplog.text
