"""Embeddings turn with the molecule; their scalars do not."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from equicalc.checkpoint import save_checkpoint
from equicalc.crystals import random_crystals
from equicalc.crystals.embeddings import EMBEDDINGS, embed_crystals, named_embedding
from equicalc.crystals.pose import place
from equicalc.models import Mo3ENet, Mo3ENetConfig


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_vectors_turn_with_the_molecule(name):
    still = molecule("CH3CHO")
    turned = still.copy()
    turned.rotate(50, (1, 2, 3))
    turn = np.linalg.lstsq(still.positions, turned.positions, rcond=None)[0]
    embedding = named_embedding(name)
    before, after = embedding.encode([still, turned])
    assert np.allclose(np.einsum("ij,ik->jk", turn, before), after, atol=1e-6)
    assert np.ptp(embedding.scalars([still, turned]), axis=0) == pytest.approx(0)


def test_crystals_become_numbers():
    crystals = random_crystals("O", 4, n=2)
    found = embed_crystals(crystals, named_embedding("volume"))
    assert {key: value.shape for key, value in found.items()} == {
        "parameters": (2, 12),
        "spacegroups": (2,),
        "scalars": (2, 1),
        "vectors": (2, 3, 0),
    }


def test_parameters_are_those_of_the_pose():
    [crystal] = random_crystals("CO", 14, n=1)
    found = embed_crystals([crystal], named_embedding("axes"))
    _, placed = place(crystal.molecules[0], found["parameters"][0])
    vectors = named_embedding("axes").encode([placed])
    assert np.allclose(found["vectors"], vectors, atol=1e-6)
    assert np.allclose(found["parameters"][0], crystal.parameters(), atol=1e-6)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="none, volume, axes or mo3enet"):
        named_embedding("mass")


def test_learned_vectors_turn_with_the_molecule(tmp_path):
    torch.manual_seed(0)
    config = Mo3ENetConfig(elements=(1, 6, 8))
    path = save_checkpoint(tmp_path / "m.safetensors", Mo3ENet(config), {})
    still = molecule("CH3CHO")
    turned = still.copy()
    turned.rotate(50, (1, 2, 3))
    turn = np.linalg.lstsq(still.positions, turned.positions, rcond=None)[0]
    embedding = named_embedding(f"mo3enet:{path}")
    before, after = embedding.encode([still, turned])
    assert np.allclose(np.einsum("ij,ik->jk", turn, before), after, atol=1e-4)
    assert np.ptp(embedding.scalars([still, turned]), axis=0).max() < 1e-4
    with pytest.raises(FileNotFoundError, match="nowhere"):
        named_embedding("mo3enet:nowhere.safetensors")
