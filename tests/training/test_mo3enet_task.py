"""Training of autoencoders of molecules: the mixture loss, its width, resuming."""

from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from equicalc.checkpoint import load_checkpoint
from equicalc.models import Mo3ENet, Mo3ENetConfig
from equicalc.models.cloud import point_cloud
from equicalc.models.swarm import Swarm
from equicalc.training import fit
from equicalc.training.logs import read_log
from equicalc.training.mixture import mixture_loss, mixture_terms
from equicalc.training.mo3enet_task import Mo3ENetTask, Width
from equicalc.training.reconstruction import ReconstructionValidation

pytestmark = pytest.mark.usefixtures("no_plots")

ELEMENTS = (1, 6, 8)
SHAPE: dict[str, Any] = {
    "bottleneck": 12,
    "slots": (4, 1, 1),
    "channels": 8,
    "messages": 4,
    "layers": 1,
    "n_radial": 8,
    "decoder_channels": 16,
    "decoder_depth": 1,
    "points": 10,
}


@pytest.fixture
def make_config(configure):
    def make(task="mo3enet", model=SHAPE, **changes):
        return configure(task, model, **changes)

    return make


@pytest.fixture(scope="module")
def clouds(molecules):
    return point_cloud(molecules.batch(range(len(molecules))), ELEMENTS, torch.float64)


def on_the_atoms(cloud):
    """A point on every atom, and nothing else."""
    types = torch.nn.functional.one_hot(cloud.species, len(ELEMENTS)).double()
    shares = cloud.padded(1 / cloud.n_atoms.double()[cloud.batch])
    return Swarm(cloud.padded(cloud.pos), cloud.padded(types), shares)


def moved(swarm, shift):
    return Swarm(swarm.positions + shift, swarm.types, swarm.shares)


def test_points_on_the_atoms_have_no_loss_at_any_width(clouds):
    for sigma in (0.1, 0.5, 2.0):
        terms = mixture_terms(on_the_atoms(clouds), clouds, sigma)
        for name in ("overlap", "orphan", "stray", "missing"):
            assert float(terms[name]) < 1e-9, (name, sigma)


def test_the_overlap_of_atoms_goes_to_that_of_each_with_itself(clouds):
    overlaps = [
        float(mixture_terms(on_the_atoms(clouds), clouds, sigma)["self"])
        for sigma in (2.0, 1.0, 0.5, 0.3)
    ]
    assert overlaps == sorted(overlaps, reverse=True)
    assert overlaps[0] > 0.5
    assert overlaps[-1] < 1e-3


def test_terms_are_those_of_the_definition(clouds):
    """Of water, with every sum written out."""
    index = clouds.n_atoms.tolist().index(3)
    atoms = slice(int(clouds.ptr[index]), int(clouds.ptr[index + 1]))
    water = point_cloud(
        _graph(clouds.pos[atoms], clouds.species[atoms]), ELEMENTS, torch.float64
    )
    torch.manual_seed(0)
    swarm = Swarm(
        torch.randn(1, 4, 3).double(),
        torch.rand(1, 4, 3).double().softmax(2),
        torch.rand(1, 4).double().softmax(1),
    )
    sigma = 0.9
    onehot = torch.eye(3).double()[water.species]
    d2 = torch.zeros(3, 4).double()
    own = torch.zeros(3, 3).double()
    for i in range(3):
        for j in range(4):
            d2[i, j] = (water.pos[i] - swarm.positions[0, j]).square().sum()
            d2[i, j] += 4 * (onehot[i] - swarm.types[0, j]).square().sum()
        for k in range(3):
            own[i, k] = (water.pos[i] - water.pos[k]).square().sum()
            own[i, k] += 4 * (onehot[i] - onehot[k]).square().sum()
    found = (3 * swarm.shares * torch.exp(-d2 / sigma**2)).sum(1)
    wanted = torch.exp(-own / sigma**2).sum(1)
    terms = mixture_terms(swarm, water, sigma)
    torch.testing.assert_close(terms["missing"], (found - wanted).abs().mean())
    torch.testing.assert_close(terms["self"], (wanted - 1).mean())
    torch.testing.assert_close(terms["orphan"], d2.amin(1).mean())
    torch.testing.assert_close(terms["stray"], (swarm.shares * d2.amin(0)).sum())


def _graph(pos, species):
    return Data(
        z=torch.tensor(ELEMENTS)[species],
        pos=pos,
        batch=torch.zeros(len(pos), dtype=torch.int64),
        ptr=torch.tensor([0, len(pos)]),
    )


def test_an_atom_far_from_all_points_still_pulls(clouds):
    """The bells are flat out there; the orphan term is not."""
    away = moved(on_the_atoms(clouds), 20.0)
    away.positions.requires_grad_()
    terms = mixture_terms(away, clouds, 0.5)
    assert torch.autograd.grad(terms["overlap"], away.positions, retain_graph=True)[
        0
    ].abs().max() < 1e-9  # fmt: skip
    [pull] = torch.autograd.grad(terms["orphan"], away.positions)
    assert pull.norm(dim=2).amax(1).min() > 1e-2


def test_loss_is_the_mean_over_molecules(clouds, molecules):
    """Padding counts for nothing: a molecule alone has the loss that it adds."""
    torch.manual_seed(0)
    config = Mo3ENetConfig(elements=ELEMENTS, **SHAPE)
    model = Mo3ENet(config, backend="torch").double()

    def loss(indices):
        cloud = model.cloud(molecules.batch(indices))
        return mixture_loss(mixture_terms(model.decode(model.encode(cloud)), cloud, 1))

    with torch.no_grad():
        singles = torch.stack([loss([i]) for i in range(len(molecules))])
        torch.testing.assert_close(loss(range(len(molecules))), singles.mean())


def test_validation_counts_what_is_there(clouds):
    validation = ReconstructionValidation()
    validation.compare(on_the_atoms(clouds), clouds)
    table = validation.table()
    for name in ("molecules", "atoms", "molecules_touched", "atoms_touched"):
        assert table[name] == 1
    assert table["deviation"] + table["molecule_deviation"] + table["loss"] < 1e-6
    # one atom of one molecule goes missing
    swarm = on_the_atoms(clouds)
    swarm.positions[0, 0] += 9
    validation = ReconstructionValidation()
    validation.compare(swarm, clouds)
    table = validation.table()
    assert table["molecules"] == pytest.approx(1 - 1 / len(clouds))
    assert table["atoms"] == pytest.approx(1 - 1 / len(clouds.species))


def test_width_shrinks_only_when_the_overlap_is_there():
    width = Width(2.0)
    terms = {"missing": torch.tensor(0.0), "self": torch.tensor(1.0)}
    width.step(terms | {"missing": torch.tensor(1.0)})
    assert float(width.sigma) == 2.0
    for _ in range(60):
        width.step(terms)
    assert 1.0 < float(width.sigma) < 2.0
    before = float(width.sigma)
    width.step(terms | {"self": torch.tensor(1e-4)})  # narrow enough
    assert float(width.sigma) == before


def test_a_batch_is_a_function_of_seed_and_molecules(make_config, molecules):
    model = Mo3ENet(Mo3ENetConfig(elements=ELEMENTS, **SHAPE), backend="torch")

    def positions(seed):
        return Mo3ENetTask(make_config(seed=seed)).batch(model, molecules, np.arange(3))

    torch.testing.assert_close(positions(1).pos, positions(1).pos, rtol=0, atol=0)
    assert not torch.allclose(positions(1).pos, positions(2).pos)
    assert positions(1).pos.dtype == torch.float32


def test_training_learns_and_leaves_a_model(make_config):
    best = fit.train(make_config(stop={"max_steps": 40}))
    rows = read_log(best.parent / "train.csv")
    assert float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"])
    valid = read_log(best.parent / "valid.csv")
    assert {"loss", "orphan", "atoms", "molecules", "deviation"} <= valid[0].keys()
    model, card = load_checkpoint(best, backend="torch")
    assert isinstance(model, Mo3ENet)
    assert model.config.elements == ELEMENTS
    assert 1.0 < model.config.radius < 4.0
    assert card["metrics"]["valid"]["loss"] == pytest.approx(
        min(float(row["loss"]) for row in valid)
    )


def test_a_resumed_run_is_the_same_run(make_config, tmp_path, monkeypatch):
    """The width of the Gaussians and its memory go on as well."""
    monkeypatch.setattr(Width, "THRESHOLD", 10.0)  # shrink at every step
    whole = fit.train(make_config(output=str(tmp_path / "whole")))
    fit.train(make_config(stop={"max_steps": 3}))
    best = fit.train(make_config())
    a, b = (load_checkpoint(path, backend="torch")[0] for path in (whole, best))
    for p, q in zip(a.parameters(), b.parameters()):
        torch.testing.assert_close(p, q)
    logs = [read_log(path.parent / "train.csv") for path in (whole, best)]
    widths = [[row["sigma"] for row in rows] for rows in logs]
    assert widths[0] == widths[1]
    assert float(widths[0][-1]) < 1.95


def test_hydrogens_can_be_left_out(make_config):
    best = fit.train(make_config(model=SHAPE | {"elements": [6, 8], "slots": [2, 2]}))
    model, _ = load_checkpoint(best, backend="torch")
    assert isinstance(model, Mo3ENet)
    assert model.config.elements == (6, 8)
