"""Properties turn with the molecule as their rank asks, under inversion as well."""

from typing import Any

import numpy as np
import pytest
import torch
from ase.build import molecule

from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.models import Head, HeadConfig, Mo3ENet, Mo3ENetConfig, build_model

ENCODER = Mo3ENetConfig(bottleneck=8, channels=8, n_radial=8)
TURN = {
    "vector": "ax,nx->na",
    "rank2": "ax,by,nxy->nab",
    "rank3": "ax,by,cz,nxyz->nabc",
}


def make(kind, **changes: Any):
    torch.manual_seed(0)
    changes["targets"] = ("a", "b") if kind == "scalar" else ("a",)
    config = HeadConfig(ENCODER, kind, channels=8, depth=2, terms=4, **changes)
    head = Head(config, backend="torch").double().eval()
    with torch.no_grad():
        for parameter in head.parameters():  # biases, too, should not break anything
            parameter.add_(0.1 * torch.randn_like(parameter))
    return head


@pytest.mark.parametrize("kind", ["vector", "rank2", "rank3"])
def test_tensors_turn_with_the_molecule(kind, turn, graph_of, turned):
    head, atoms = make(kind), molecule("CH3CH2OH")
    plain, other = head(graph_of(atoms)), head(graph_of(turned(atoms, turn)))
    n = {"vector": 1, "rank2": 2, "rank3": 3}[kind]
    assert plain.abs().max() > 1e-4
    expected = torch.einsum(TURN[kind], *n * [turn], plain)
    torch.testing.assert_close(other, expected)


def test_scalars_do_not_turn(turn, graph_of, turned):
    head, atoms = make("scalar"), molecule("CH3CH2OH")
    torch.testing.assert_close(
        head(graph_of(turned(atoms, turn))), head(graph_of(atoms))
    )


def test_tensors_are_symmetric_in_their_indices(graph_of):
    atoms = graph_of(molecule("CH3CHO"))
    two, three = make("rank2")(atoms), make("rank3")(atoms)
    torch.testing.assert_close(two, two.transpose(1, 2))
    for axes in ((0, 2, 1, 3), (0, 3, 2, 1), (0, 2, 3, 1)):
        torch.testing.assert_close(three, three.permute(axes))


def test_a_matrix_without_vectors_is_isotropic(graph_of):
    """The isotropic part comes from scalars, the rest from vectors."""
    head = make("rank2")
    output = head.output
    with torch.no_grad():
        output.vectors.weight.zero_()
        only_trace = head(graph_of(molecule("CH3CHO")))[0]
    scale = only_trace[0, 0]
    torch.testing.assert_close(only_trace, scale * torch.eye(3).double())


def test_an_answer_is_that_of_the_molecule_alone(graph_of):
    head = make("vector")
    a, b = molecule("CH3CHO"), molecule("C3H8")
    torch.testing.assert_close(head(graph_of(a, b))[:1], head(graph_of(a)))


def test_references_and_scale_are_put_back(graph_of):
    plain = make("scalar")
    shifted = make(
        "scalar", references=((1.0, 2.0, 3.0, 4.0, 5.0), (0.0,) * 5), scale=(2.0, 3.0)
    )
    water = graph_of(molecule("H2O"))
    a, b = plain(water)[0], shifted(water)[0]
    expected = torch.tensor([2.0, 3.0]).double() * a + torch.tensor([6.0, 0.0])
    torch.testing.assert_close(b, expected)


def test_the_encoder_is_copied_and_does_not_learn(graph_of):
    torch.manual_seed(3)
    autoencoder = Mo3ENet(ENCODER, backend="torch").double()
    head = make("vector")
    head.take_encoder(autoencoder)
    water = graph_of(molecule("CH3OH"))
    torch.testing.assert_close(
        head.encoder(head.cloud(water)), autoencoder.encode(water)
    )
    head(water).sum().backward()
    assert all(p.grad is None for p in head.encoder.parameters())
    assert all(p.grad is not None for p in head.layers.parameters())
    other = Mo3ENet(Mo3ENetConfig(bottleneck=4), backend="torch")
    with pytest.raises(ValueError, match="leave `encoder` out"):
        head.take_encoder(other)


def test_a_tensor_head_has_one_target():
    with pytest.raises(ValueError, match="one head for each"):
        build_model("head", {"kind": "vector", "targets": ["a", "b"]})


def test_a_saved_head_is_the_same(tmp_path, graph_of):
    head = make("rank2", scale=(2.5,))
    path = save_checkpoint(tmp_path / "head.safetensors", head, {})
    loaded, card = load_checkpoint(path, dtype=torch.float64, backend="torch")
    atoms = graph_of(molecule("CH3OH"))
    torch.testing.assert_close(loaded(atoms), head(atoms))
    assert card["elements"] == [1, 6, 7, 8, 9]
    assert np.isclose(card["cutoff"], 3.0)
