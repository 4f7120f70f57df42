"""CUDA graphs of steps are the potential's own; what fails is given up."""

import pytest
import torch

from equicalc.models import ReplayedPotential, evaluate

pytestmark = pytest.mark.gpu


def on_device(graph):
    return graph.to("cuda")


@pytest.fixture
def engine(potential):
    found = ReplayedPotential.build(potential().cuda())
    assert found is not None
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_graphs_are_the_potential_on_the_device(
    potential, cluster, crystal, assert_same, shape, dtype, caplog
):
    engine = ReplayedPotential.build(potential(dtype=dtype, **shape).cuda())
    assert engine is not None
    graphs = [cluster(9), cluster(9, 1.3), crystal(6), cluster(9, 0.7), cluster(4)]
    graphs += [cluster(40), cluster(36, 1.2), crystal(5, 3.4)]
    for graph in graphs:
        assert_same(engine, on_device(graph), 1e-11 if dtype is torch.float64 else 1e-4)
    assert not caplog.records
    assert engine.replays == len(graphs)
    assert engine.recordings < 4


def test_threads_and_streams_share_a_graph(cluster, in_threads, engine):
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


def test_what_waits_cannot_be_recorded_and_is_given_up(
    potential, cluster, assert_same, engine, monkeypatch, caplog
):
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


def test_a_value_that_stuck_in_a_graph_is_noticed(
    cluster, assert_same, engine, monkeypatch, caplog
):
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
