"""The parts of a run against numbers worked out by hand."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from equicalc.data import PackedDataset
from equicalc.training.batches import EndlessBatches, in_order
from equicalc.training.config import LossConfig, OptimizerConfig, StopConfig
from equicalc.training.ema import ema_decay, update_ema
from equicalc.training.errors import Predictions
from equicalc.training.losses import penalty, total_loss
from equicalc.training.schedule import RunState, learning_rate, progress
from equicalc.training.sources import (
    load_parts,
    model_settings,
    open_source,
    split,
)
from equicalc.training.statistics import composition, reference_energies


def two_molecules():
    """Two structures of one and two atoms, with labels and predictions."""
    batch = Data(
        z=torch.tensor([1, 1, 8]),
        ptr=torch.tensor([0, 1, 3]),
        energy=torch.tensor([-1.0, -4.0], dtype=torch.float64),
        forces=torch.zeros(3, 3),
    )
    predicted = {
        "energy": torch.tensor([-1.5, -3.0], dtype=torch.float64),
        "forces": torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 6.0]]),
    }
    return predicted, batch


# the loss


def test_loss_is_the_weighted_sum_of_its_terms():
    predicted, batch = two_molecules()
    config = LossConfig(2.0, 3.0, kind={"energy": "l1", "forces": "norm"})
    loss, terms = total_loss(predicted, batch, config)
    assert terms["energy"].item() == pytest.approx((0.5 + 1.0 / 2) / 2)
    assert terms["forces"].item() == pytest.approx((5 + 0 + 6) / 3)
    assert loss.item() == pytest.approx(2 * 0.5 + 3 * 11 / 3)


def test_huber_is_quadratic_then_linear():
    small, large = torch.tensor([0.1]), torch.tensor([10.0])
    assert penalty(small, "huber", 1.0).item() == pytest.approx(0.005)
    assert penalty(large, "huber", 1.0).item() == pytest.approx(9.5)


def test_perfect_forces_have_a_finite_gradient():
    residual = torch.zeros(4, 3, requires_grad=True)
    penalty(residual, "norm", 1.0).backward()
    assert residual.grad is not None
    assert residual.grad.isfinite().all()


# errors


def test_errors_agree_with_hand_calculation():
    predictions = Predictions()
    predicted, batch = two_molecules()
    predictions.add(predicted, batch)
    table = predictions.table(np.array([1, 0]), ["pair", "single"])
    assert table["energy"] == pytest.approx({"mae": 750, "rmse": 1000 * 0.625**0.5})
    assert table["energy_per_atom"]["mae"] == pytest.approx(500)
    assert table["forces"]["mae"] == pytest.approx(1000 * 13 / 9)
    assert table["forces"]["rmse"] == pytest.approx(1000 * (61 / 9) ** 0.5)
    assert table["kinds"]["single"]["forces"]["mae"] == pytest.approx(1000 * 7 / 3)
    assert table["kinds"]["pair"]["energy"]["mae"] == pytest.approx(1000)
    assert table["elements"]["forces"]["8"]["mae"] == pytest.approx(2000)
    assert table["n_structures"] == 2


# the running average


def test_average_moves_by_the_decay():
    average, model = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.constant_(average.weight, 1.0)
    torch.nn.init.constant_(model.weight, 2.0)
    update_ema(average, model, 0.75)
    assert average.weight.item() == pytest.approx(1.25)
    assert model.weight.item() == 2.0


def test_average_forgets_its_start():
    assert ema_decay(0.999, 0) == 0.1
    assert ema_decay(0.999, 10**7) == 0.999


# the schedule


def test_learning_rate_rises_then_falls():
    config = OptimizerConfig(lr=1.0, warmup_steps=5, schedule="cosine", lr_final=0.1)
    rates = [learning_rate(config, step, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert np.all(np.diff(rates[:5]) > 0)
    assert np.all(np.diff(rates[5:]) < 0)
    assert rates[50] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1)


def test_plateau_reduces_to_its_floor():
    config = OptimizerConfig(lr=1.0, warmup_steps=0, schedule="plateau", lr_final=0.1)
    assert learning_rate(config, 9, 0.5, plateau=0.25) == 0.25
    assert learning_rate(config, 9, 0.5, plateau=0.01) == 0.1


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (StopConfig(max_steps=100), 0.3),
        (StopConfig(max_epochs=5), 0.6),
        (StopConfig(max_steps=100, max_time="00:00:40"), 0.5),
        (StopConfig(max_time=10), 1.0),
    ],
)
def test_progress_is_the_nearest_limit(stop, expected):
    assert progress(stop, 30, steps_per_epoch=10, elapsed=20.0) == expected


def test_patience_finishes_a_run():
    stop = StopConfig(max_steps=100, patience=3)
    assert RunState(stale=3).finished(stop, 10, 10)
    assert not RunState(stale=2).finished(stop, 10, 10)


# batches


def test_epoch_visits_every_structure_once():
    batches = list(islice(EndlessBatches(12, 3, seed=1), 8))
    first, second = np.concatenate(batches[:4]), np.concatenate(batches[4:])
    assert sorted(first) == sorted(second) == list(range(12))
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("start", [0, 1, 3, 4, 11])
def test_batches_continue_anywhere(start):
    whole = list(islice(EndlessBatches(10, 3, seed=1), 16))
    rest = list(islice(EndlessBatches(10, 3, seed=1, start=start), 5))
    assert np.array_equal(whole[start : start + 5], rest)


def test_few_structures_make_one_batch():
    batches = EndlessBatches(2, 8, seed=0)
    assert batches.per_epoch == 1
    assert next(iter(batches)).tolist() == [0, 1]


def test_nothing_in_order_is_nothing():
    assert in_order(0, 4) == []


# statistics and splits


def test_isolated_atoms_give_reference_energies():
    z, ptr = np.array([1, 8, 8, 1, 1]), np.array([0, 1, 2, 5])
    elements = np.array([1, 8])
    counts = composition(z, ptr, elements)
    energies = np.array([-13.0, -2000.0, -2040.0])
    assert reference_energies(counts, energies, elements).tolist() == [-13, -2000]
    known = reference_energies(counts, energies, elements, {8: -1999.0})
    assert known.tolist() == [-13, -1999]


def test_least_squares_finds_additive_energies():
    counts = np.array([[2, 1], [4, 0], [1, 3], [3, 2]])
    exact = np.array([-13.5, -2040.25])
    found = reference_energies(counts, counts @ exact, np.array([1, 8]))
    assert found == pytest.approx(exact)


def test_model_takes_its_numbers_from_the_data(make_config, spring_set):
    settings = model_settings(make_config(), PackedDataset(spring_set))
    forces = PackedDataset(spring_set).column("forces")
    assert settings["elements"] == (1, 8)
    assert settings["energy_scale"] == pytest.approx((forces**2).mean() ** 0.5)
    assert settings["avg_neighbors"] > 1
    given = make_config(model={"energy_scale": 3.0, "elements": [1, 6, 8]})
    settings = model_settings(given, PackedDataset(spring_set))
    assert settings["energy_scale"] == 3.0
    assert settings["elements"] == (1, 6, 8)


def test_molecules_are_not_shared_between_parts(make_config):
    parts = load_parts(make_config())
    groups = {name: set(part.column("group")) for name, part in parts.items()}
    assert set(groups) == {"train", "valid", "test"}
    assert sum(map(len, groups.values())) == 10


def test_frames_of_one_molecule_are_split(spring_set):
    one = PackedDataset(spring_set).subset(np.arange(4))
    parts = split(one, {"train": 0.75, "valid": 0.25}, seed=0)
    assert [len(part) for part in parts.values()] == [3, 1]


def test_limits_of_the_data_are_kept(make_config):
    forces = load_parts(make_config())["train"].column("forces")
    limit = float(np.median(np.linalg.norm(forces, axis=1))) * 2
    data = {"max_force": limit, "n_train": 5}
    part = load_parts(make_config(data=data))["train"]
    assert 0 < len(part) <= 5
    assert np.linalg.norm(part.column("forces"), axis=1).max() <= limit
    with pytest.raises(ValueError, match="no structure is left"):
        load_parts(make_config(data={"max_force": 1e-9}))


def test_folders_of_raw_files_are_left_to_the_readers(tmp_path):
    with pytest.raises(ValueError, match=r"without \.xyz files .raw QM9"):
        open_source(str(tmp_path))


def test_elements_that_a_model_lacks_are_named():
    with pytest.raises(ValueError, match=r"\[6\].*model\.elements \[1, 8\] lacks"):
        composition(np.array([6, 1]), np.array([0, 2]), np.array([1, 8]))
