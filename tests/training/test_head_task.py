"""Training of heads on a frozen embedding."""

import numpy as np
import pytest
import torch

from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.models import Head, Mo3ENet, Mo3ENetConfig
from equicalc.training import config_from_dict, fit, head_task, plots
from equicalc.training.head_task import HeadTask
from equicalc.training.logs import read_log
from equicalc.training.sources import split_rows

pytestmark = pytest.mark.usefixtures("no_plots")

N = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Molecules of three atoms; a dipole that their charges make, and an energy."""
    folder = tmp_path_factory.mktemp("heads")
    rng = np.random.default_rng(0)
    z = np.tile([1, 6, 8], (N, 1))
    pos = np.eye(3) + 0.3 * rng.standard_normal((N, 3, 3))
    dipole = pos[:, 2] - pos[:, 0]
    size = np.linalg.norm(dipole, axis=1)
    np.savez(folder / "set.npz", z=z, pos=pos, dipole=dipole, size=size)
    torch.manual_seed(0)
    config = Mo3ENetConfig(bottleneck=8, channels=8, n_radial=8, elements=(1, 6, 8))
    encoder = save_checkpoint(
        folder / "encoder.safetensors", Mo3ENet(config, backend="torch"), {}
    )
    return str(folder / "set.npz"), str(encoder)


@pytest.fixture
def make_config(files, tmp_path):
    def make(model, **changes):
        content = {
            "task": "head",
            "output": str(tmp_path / "run"),
            "init": files[1],
            "data": {"train": files[0], "fractions": {"train": 0.7, "valid": 0.3}},
            "model": {"channels": 16, "depth": 1, "terms": 4} | model,
            "optimizer": {"batch_size": 8, "lr": 0.01, "schedule": "constant"},
            "stop": {"max_steps": 60},
            "trainer": {
                "threads": 1,
                "val_every_steps": 20,
                "progress": False,
                "backend": "torch",
            },
        }
        return config_from_dict(content | changes)

    return make


@pytest.mark.parametrize("target", ["dipole", "size"])
def test_training_learns(target, make_config, files):
    kind = "vector" if target == "dipole" else "scalar"
    best = fit.train(make_config({"kind": kind, "targets": [target]}))
    rows = read_log(best.parent / "valid.csv")
    assert float(rows[-1][target]) < 0.8 * float(rows[0][target])
    head, _ = load_checkpoint(best, backend="torch")
    encoder, _ = load_checkpoint(files[1], backend="torch")
    assert isinstance(head, Head)
    assert isinstance(encoder, Mo3ENet)
    for p, q in zip(head.encoder.parameters(), encoder.encoder.parameters()):
        torch.testing.assert_close(p, q, rtol=0, atol=0)


def test_a_head_answers_in_the_unit_of_its_data(make_config):
    """The validation error is that of the model's own answers."""
    config = make_config({"kind": "vector", "targets": ["dipole"]})
    best = fit.train(config)
    head, card = load_checkpoint(best, backend="torch")
    task = HeadTask(config)
    table = head_task.read_properties(config.data.train, ["dipole"])
    rows = split_rows(N, {"train": 0.7, "valid": 0.3}, config.seed)["valid"]
    chosen = table.subset(rows)
    with torch.no_grad():
        answers = head(chosen.graph(0, len(chosen))).numpy()
    error = np.abs(answers - chosen.values).mean()
    assert card["metrics"]["valid"]["dipole"] == pytest.approx(error, rel=1e-3)
    assert len(task.load_parts()["valid"]) == len(rows)


def test_one_term_has_a_picture(tmp_path):
    for name in ("train", "valid"):
        (tmp_path / f"{name}.csv").write_text("step,loss\n1,2.0\n2,1.0\n")
    assert plots.plot_terms(tmp_path, ("loss",)).stat().st_size > 1000


def test_what_is_wrong_is_said(make_config, files):
    with pytest.raises(ValueError, match="is trained on"):
        HeadTask(make_config({"kind": "rank2", "targets": ["dipole"]})).load_parts()
    with pytest.raises(ValueError, match="give `init: mo3enet`"):
        HeadTask(make_config({"targets": ["size"]}, init=None))
