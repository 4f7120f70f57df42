"""The committed configurations of property networks."""

from pathlib import Path
from typing import cast

import pytest

from equicalc.models import PropertyNetwork, build_model
from equicalc.training import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = [
    *sorted((CONFIGS / "qm9").glob("*.yaml")),
    *sorted((CONFIGS / "study").glob("*.yaml")),
    CONFIGS / "equitriton.yaml",
    CONFIGS / "qm9-u0.yaml",
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_describes_a_network(path):
    run = load_config(path)
    fields = {"elements": (1, 6, 7, 8, 9), "targets": run.properties.targets}
    model = cast(PropertyNetwork, build_model(run.task, fields | run.model))
    assert model.config.targets == tuple(run.properties.targets)


def test_published_shapes():
    features = {}
    for name in ("l0net", "l1net", "l2net", "arandnet", "brandnet"):
        run = load_config(CONFIGS / "qm9" / f"{name}.yaml")
        fields = {"elements": (1, 6, 7, 8, 9), "targets": run.properties.targets}
        features[name] = build_model(run.task, fields | run.model).irreps_features
    assert features == {
        "l0net": "128x0e",
        "l1net": "64x0e + 21x1o",
        "l2net": "42x0e + 14x1o + 8x2e",
        "arandnet": "20x0e + 29x1o",
        "brandnet": "94x0e + 1x1o",
    }
