"""The embedding of a molecule turns with it, holds it, and is its own."""

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.models import Mo3ENet, Mo3ENetConfig, build_model
from equicalc.models.reconstruction import reconstruct

SHAPE: dict[str, Any] = {
    "bottleneck": 12,
    "slots": (6, 2, 1, 1, 1),
    "channels": 8,
    "messages": 4,
    "n_radial": 8,
    "decoder_channels": 8,
    "decoder_depth": 2,
    "points": 12,
}


def make(**changes):
    torch.manual_seed(0)
    config = Mo3ENetConfig(**(SHAPE | changes))
    return Mo3ENet(config, backend="torch").double().eval()


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.mark.parametrize("decoder", ["mlp", "gnn"])
def test_embedding_and_points_turn_with_the_molecule(decoder, turn, graph_of, turned):
    model, atoms = make(decoder=decoder), molecule("CH3CH2OH")
    g, other = (
        model.encode(graph_of(atoms)),
        model.encode(graph_of(turned(atoms, turn))),
    )
    assert g.abs().max() > 1e-2
    torch.testing.assert_close(other, turn @ g)
    torch.testing.assert_close(model.scalars(other), model.scalars(g))
    swarm, swarm_turned = model.decode(g), model.decode(other)
    torch.testing.assert_close(swarm_turned.positions, swarm.positions @ turn.T)
    torch.testing.assert_close(swarm_turned.types, swarm.types)
    torch.testing.assert_close(swarm_turned.shares, swarm.shares)


def test_mirror_images_differ(model, graph_of, turned):
    """Enantiomers have other embeddings, whatever the rotation: S(g) alone is equal."""
    chiral = Atoms("CFHOH", [[0, 0, 0], [1.3, 0, 0], [0, 1.1, 0], [0, 0.2, 1.4],
                             [-0.6, -0.7, -0.6]])  # fmt: skip
    with torch.no_grad():
        g, mirrored = model.encode(graph_of(chiral, turned(chiral, -torch.eye(3))))
    u, _, v = torch.linalg.svd(mirrored @ g.T)
    best = u @ torch.diag(torch.tensor([1, 1, torch.linalg.det(u @ v)]).double()) @ v
    assert (best @ g - mirrored).norm() > 1e-2 * g.norm()


def test_order_of_the_atoms_does_not_count(model, graph_of):
    atoms = molecule("CH3CHO")
    order = np.random.default_rng(0).permutation(len(atoms))
    torch.testing.assert_close(
        model.encode(graph_of(atoms[order])), model.encode(graph_of(atoms))
    )


def test_an_embedding_is_that_of_the_molecule_alone(model, graph_of):
    a, b = molecule("CH3CHO"), molecule("C3H8")
    both = model.encode(graph_of(a, b))
    torch.testing.assert_close(both[:1], model.encode(graph_of(a)))
    torch.testing.assert_close(both[1:], model.encode(graph_of(b)))


def test_embedding_is_smooth_at_the_cutoff(model, graph_of):
    """An atom that leaves the reach of another one causes no jump."""

    def encode(distance):
        pos = [[0, 0, 0], [0, 1.4, 0.3], [distance, 0, 0]]
        return model.encode(graph_of(Atoms("CON", pos)))

    step = 1e-6
    jump = encode(3.0 + step) - encode(3.0 - step)
    smooth = encode(2.9 + step) - encode(2.9 - step)
    assert jump.norm() < 5 * smooth.norm() + 1e-9


def test_gradient_of_the_embedding_is_its_slope(model, graph_of):
    batch = graph_of(molecule("H2O"))
    batch["pos"] = batch["pos"].double() + 0.05 * torch.randn(3, 3).double()
    batch["pos"].requires_grad_()

    def embed(pos):
        batch["pos"] = pos
        return model.encode(batch)[0, :, :2]

    assert torch.autograd.gradcheck(embed, batch["pos"])


def test_one_atom_has_a_zero_embedding_and_no_nan(model, graph_of):
    g = model.encode(graph_of(Atoms("C")))
    assert not g.any()
    swarm = model.decode(g)
    assert swarm.positions.isfinite().all()
    torch.testing.assert_close(swarm.shares.sum(1), torch.ones(1).double())


def test_hydrogens_are_left_out_where_the_model_has_none(graph_of):
    model = make(elements=(6, 7, 8), slots=(2, 1, 1))
    atoms = molecule("CH3CHO")
    heavy = atoms[atoms.numbers > 1]
    torch.testing.assert_close(
        model.encode(graph_of(atoms)), model.encode(graph_of(heavy))
    )
    with pytest.raises(ValueError, match="no atoms but hydrogens"):
        model.encode(graph_of(molecule("CH4"), molecule("H2")))


def test_unknown_elements_are_named(model, graph_of):
    with pytest.raises(ValueError, match=r"\[14\] are unknown"):
        model.encode(graph_of(molecule("SiH4")))


@pytest.mark.parametrize("changes", [{"basis": "bessel"}, {"layers": 0}, {"depth": 2}])
def test_other_shapes_work(changes, graph_of):
    assert make(**changes).encode(graph_of(molecule("H2O"))).isfinite().all()


def test_slots_hold_the_atoms_from_the_start(model):
    """Untrained: a molecule whose atoms have distinct distances comes back."""
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=1)
    [answer] = reconstruct(model, [atoms])
    assert answer.touched > 0.85
    assert answer.deviation < 0.3
    [without] = reconstruct(make(slots=()), [atoms])
    assert without.touched < 0.5


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="slots"):
        build_model("mo3enet", {"slots": [60, 9, 9, 9, 9]})
    with pytest.raises(ValueError, match="multiple of 4"):
        build_model("mo3enet", {"bottleneck": 10})
    with pytest.raises(ValueError, match="ascending"):
        build_model("mo3enet", {"elements": [6, 1]})


def test_a_saved_model_is_the_same(model, tmp_path, graph_of):
    path = save_checkpoint(tmp_path / "m.safetensors", model, {})
    loaded, _ = load_checkpoint(path, dtype=torch.float64, backend="torch")
    assert isinstance(loaded, Mo3ENet)
    batch = graph_of(molecule("CH3OH"))
    torch.testing.assert_close(loaded.encode(batch), model.encode(batch))
