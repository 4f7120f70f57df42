"""A step on padded arrays is the step; padding reaches no result."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from equicalc.kernels import cpp
from equicalc.kernels.convolution import ops
from equicalc.models.padded import Inputs, Room, take_step


def inputs(model, graph):
    vectors = (
        graph["pos"][graph["edge_index"][0]] - graph["pos"][graph["edge_index"][1]]
    )
    return Inputs.of(model, graph, vectors)


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize(("more_atoms", "more_edges"), [(1, 0), (2, 1), (9, 300)])
def test_padding_changes_nothing(
    potential, cluster, shape, backend, more_atoms, more_edges
):
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


def test_a_smaller_structure_leaves_nothing_of_a_larger_one(potential, cluster):
    model = potential()
    used, new = Room(model, 12, 150), Room(model, 12, 150)
    large, small = inputs(model, cluster(11)), inputs(model, cluster(4))
    used.fill(large)
    used.fill(small)
    new.fill(small)
    for a, b in zip(used.inputs, new.inputs, strict=True):
        assert torch.equal(a, b)


def test_padding_is_edges_in_no_row_beyond_the_cutoff(potential, cluster):
    model, graph = potential(), cluster(5)
    given = inputs(model, graph)
    n_edges = len(given.vectors)
    room = Room(model, 8, n_edges + 6)
    room.fill(given)
    arrays = room.inputs
    assert (arrays.vectors[n_edges:].norm(dim=1) > model.cutoff).all()
    assert (arrays.src[n_edges:] == 7).all()
    assert (arrays.dst[n_edges:] == 7).all()
    assert (arrays.dst.diff() >= 0).all()
    for pointer in (arrays.dst_ptr, arrays.src_ptr):
        assert (pointer[5:] == n_edges).all()
    assert torch.equal(arrays.dst_ptr[:6], given.dst_ptr[:6])


@pytest.mark.skipif(cpp.find_compiler() is None, reason="there is no C++ compiler")
def test_what_no_loop_writes_reaches_no_result(potential, cluster, monkeypatch):
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
def test_a_step_never_waits_for_the_device(potential, cluster, shape):
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
