"""The registry of shipped models finds weights or says what is missing."""

import json

import numpy as np
import pytest
import torch
from ase.build import molecule

from equicalc import Embedder, PropertyPredictor
from equicalc.checkpoint import save_checkpoint
from equicalc.models import Potential, PotentialConfig
from equicalc.pretrained import Registry, available, weights_path


@pytest.fixture
def shipped(tmp_path):
    """A registry of one model that is there and one whose file is lost."""
    torch.manual_seed(0)
    network = Potential(PotentialConfig((1, 8), channels=4, layers=1))
    save_checkpoint(tmp_path / "weights/tiny.safetensors", network, {"licence": "MIT"})
    models = {
        "tiny-water": {"file": "tiny.safetensors", "summary": "for tests"},
        "lost": {"file": "lost.safetensors", "summary": ""},
    }
    content = {"default": "tiny-water", "models": models}
    (tmp_path / "registry.json").write_text(json.dumps(content))
    return Registry.read(tmp_path)


def test_names_paths_and_the_default_are_found(shipped, tmp_path):
    expected = tmp_path / "weights/tiny.safetensors"
    assert shipped.weights_path() == expected
    assert shipped.weights_path("tiny-water") == expected
    assert shipped.weights_path("tiny") == expected
    assert shipped.weights_path(expected) == expected
    assert shipped.weights_path(str(expected)) == expected


def test_cards_of_what_is_there_are_listed(shipped):
    cards = shipped.available()
    assert cards.keys() == {"tiny-water"}
    card = cards["tiny-water"]
    assert (card["summary"], card["licence"]) == ("for tests", "MIT")
    assert (card["elements"], card["cutoff"]) == ([1, 8], 5.0)


def test_wrong_names_get_help(shipped, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"did you mean 'tiny-water'.*lost, tiny"
    ):
        shipped.weights_path("tiny-watr")
    with pytest.raises(FileNotFoundError, match=r"lost\.safetensors does not exist"):
        shipped.weights_path("lost")
    with pytest.raises(FileNotFoundError, match=r"'no/file\.safetensors'"):
        shipped.weights_path("no/file.safetensors")
    with pytest.raises(FileNotFoundError, match="called"):
        shipped.weights_path(tmp_path)


def test_missing_default_is_explained(tmp_path):
    registry = Registry(tmp_path, "nothing-yet", {})
    assert registry.available() == {}
    with pytest.raises(FileNotFoundError, match=r"'nothing-yet' is not part.*none"):
        registry.weights_path()


@pytest.mark.parametrize("content", ["{", "[]", '{"default": "x"}'])
def test_broken_registry_is_named(tmp_path, content):
    (tmp_path / "registry.json").write_text(content)
    with pytest.raises(ValueError, match=r"registry\.json is not a model registry"):
        Registry.read(tmp_path)


def test_shipped_registry_and_its_weights_agree():
    registry = Registry.read()
    cards = available()
    assert cards.keys() == registry.models.keys()
    if registry.models:
        assert registry.default in cards
        assert weights_path() == weights_path(registry.default)
    for card in cards.values():
        assert {"level_of_theory", "licence", "command", "metrics", "limits"} <= set(
            card
        )


@pytest.mark.parametrize("name", ["equitriton", "qm9-u0"])
def test_shipped_energies_are_those_of_qm9(name):
    """Benzene of QM9 has -232.164 Hartree; this geometry is another method's."""
    energy = PropertyPredictor.from_pretrained(name).predict(molecule("C6H6"))["U0"]
    assert energy == pytest.approx(-232.164 * 27.2114, abs=0.3)


@pytest.mark.parametrize("name", sorted(available()))
def test_shipped_networks_embed(name):
    """Invariants stay as they are when the molecule turns."""
    embedder = Embedder.from_pretrained(name, device="cpu")
    ethanol = molecule("CH3CH2OH")
    turned = ethanol.copy()
    turned.rotate(70, (1, 2, 3))
    plain, after = embedder.invariants([ethanol, turned], per_irrep=False)
    assert np.abs(plain).max() > 0
    np.testing.assert_allclose(after, plain, atol=1e-3 * np.abs(plain).max())
