"""Training of predictors on labelled crystals."""

import dataclasses
from typing import Any, cast

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.crystals import (
    LatticeEnergyPredictor,
    LennardJones,
    MolecularCrystal,
    tasks,
)
from equicalc.crystals.agreement import expected_errors, rank_correlation
from equicalc.crystals.errors import ParametersError
from equicalc.crystals.inputs import network_inputs
from equicalc.crystals.labelled import read_labelled
from equicalc.crystals.pairwise import energy_per_molecule
from equicalc.data.databases import ase_database
from equicalc.models import LatticePaper, LatticePaperConfig
from equicalc.pretrained import weights_path
from equicalc.training import config_from_dict, train
from equicalc.training.logs import read_log
from equicalc.training.module import DivergenceError
from equicalc.units import KJ_PER_MOL

MOLECULES = {"H2O": 4.6, "NH3": 5.0, "HCN": 5.4, "H2CO": 5.8, "CH3OH": 6.4}
COPIES = 10
TRAINER = {"threads": 1, "progress": False}


def packings(group=1, scale=1.0):
    """Crystals of five molecules, their cells drawn at random."""
    rng = np.random.default_rng(0)
    for name, length in MOLECULES.items():
        for _ in range(COPIES):
            lengths = length * scale * rng.uniform(0.95, 1.25, 3)
            pose = [*lengths, 90, rng.uniform(85, 95), 90, *rng.random(3)]
            yield MolecularCrystal.from_parameters(
                molecule(name), group, [*pose, *rng.uniform(-1, 1, 3)]
            )


def write_labels(path, crystals, **changes):
    potential = LennardJones()
    with ase_database(path) as database:
        for number, one in enumerate(crystals):
            energy = 2 * energy_per_molecule(one, potential) / KJ_PER_MOL
            row = {"method": "lj", "version": "test", "status": "ok"}
            row |= {"interaction": energy, "name": f"crystal {number}"} | changes
            database.write(one.to_atoms(), **row)
    return str(path)


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return write_labels(tmp_path_factory.mktemp("labels") / "labels.db", packings())


@pytest.fixture
def make_config(labels, tmp_path):
    def make(task, model, **changes):
        content = {
            "task": task,
            "output": str(tmp_path / task),
            "data": {"train": labels, "fractions": {"train": 0.6, "valid": 0.4}},
            "model": model,
            "optimizer": {"batch_size": 10, "lr": 0.01, "warmup_steps": 10},
            "stop": {"max_steps": 80},
            "trainer": TRAINER | {"val_every_steps": 20},
        }
        return config_from_dict(content | changes)

    return make


SHAPES = {
    "lattice": {"limited": True, "members": 2, "channels": 8, "cutoff": 6.0},
    "lattice-paper": {"embedding": "volume", "width": 32, "depth": 2, "dropout": 0.0},
}


@pytest.mark.parametrize("task", SHAPES)
def test_training_learns_and_the_predictor_uses_it(task, make_config, labels):
    data = {"train": labels, "valid": labels, "fractions": {"train": 1}}
    config = make_config(task, SHAPES[task], data=data)
    best = train(config)
    rows = read_log(best.parent / "valid.csv")
    errors = [float(row["loss"]) for row in rows]
    assert min(errors) < 0.85 * errors[0]
    predictor = LatticeEnergyPredictor.from_pretrained(best)
    assert predictor.arch == {"lattice": "hybrid", "lattice-paper": "paper"}[task]
    assert predictor.card["level_of_theory"] == "lj test"
    part = tasks.TASKS[task](config).load_parts()["valid"]
    wrong = np.abs(predictor.predict(part.crystals) - part.energies).mean()
    assert wrong == pytest.approx(min(errors), rel=1e-3)
    factor, floor = predictor.card["spread"]
    deviation = predictor._members(part.crystals).std(0)
    np.testing.assert_allclose(
        predictor.uncertainty(part.crystals), np.hypot(factor * deviation, floor)
    )


def test_a_shipped_predictor_is_fine_tuned(make_config, labels):
    shipped = LatticeEnergyPredictor.from_pretrained()
    crystals, energies = list(packings()), read_labelled(labels)[0].energies
    optimizer = {"batch_size": 10, "lr": 0.002, "warmup_steps": 5}
    best = train(
        make_config(
            "lattice",
            {},
            init=str(weights_path("lattice")),
            stop={"max_steps": 12},
            optimizer=optimizer,
        )
    )
    tuned = LatticeEnergyPredictor.from_pretrained(best)
    assert tuned.model.config == shipped.model.config
    before, after = (
        np.abs(one.predict(crystals) - energies).mean() for one in (shipped, tuned)
    )
    assert after < 0.8 * before


def test_formulas_stay_together(make_config):
    parts = tasks.LatticeTask(make_config("lattice", {})).load_parts()
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 3 * COPIES,
        "valid": 2 * COPIES,
    }
    assert not set(parts["train"].formulas) & set(parts["valid"].formulas)


def test_few_formulas_are_split_by_crystals(make_config, tmp_path):
    one = [next(iter(packings()))] * 10
    file = write_labels(tmp_path / "one.db", one)
    data = {"train": file, "fractions": {"train": 0.7, "valid": 0.3}}
    parts = tasks.LatticeTask(make_config("lattice", {}, data=data)).load_parts()
    assert {name: len(part) for name, part in parts.items()} == {"train": 7, "valid": 3}


def test_crystals_of_other_groups_are_left_out(make_config, tmp_path, caplog):
    mixed = [*list(packings())[::2], *list(packings(14, 3.0))[::5]]
    file = write_labels(tmp_path / "mixed.db", mixed)
    data = {"train": file, "fractions": {"train": 0.6, "valid": 0.4}}
    shape = SHAPES["lattice-paper"]
    task = tasks.LatticePaperTask(make_config("lattice-paper", shape, data=data))
    parts = task.load_parts()
    groups = {one.spacegroup for part in parts.values() for one in part.crystals}
    assert groups == {1}
    assert "crystals left out: the crystal has space group 14" in caplog.text
    assert task.model_settings(parts["train"])["spacegroup"] == 1
    none = make_config("lattice-paper", shape | {"spacegroup": 19}, data=data)
    with pytest.raises(
        ValueError, match=r"data.train: no crystal to use of .* is for 19"
    ):
        tasks.LatticePaperTask(none).load_parts()


@pytest.fixture(scope="module")
def paper():
    torch.manual_seed(0)
    config = LatticePaperConfig((1, 6, 7, 8), means=(0.0,) * 268, scales=(1.0,) * 268)
    small = dataclasses.replace(config, width=16, depth=2, members=3, scale=0.1)
    return LatticeEnergyPredictor(LatticePaper(small))


def test_the_paper_reads_embedding_and_parameters(paper, tmp_path):
    crystals = list(packings())[::7]
    inputs = cast("torch.Tensor", network_inputs(crystals, paper.model.config))
    np.testing.assert_allclose(inputs[:, -12:], [one.parameters() for one in crystals])
    energies = paper.model(inputs)["interaction"].numpy() / KJ_PER_MOL
    np.testing.assert_allclose(paper.predict(crystals), energies, rtol=1e-4)
    assert (paper.uncertainty(crystals) > 0).all()
    file = save_checkpoint(tmp_path / "paper.safetensors", paper.model, {})
    assert isinstance(load_checkpoint(file)[0], LatticePaper)
    again = LatticeEnergyPredictor.from_pretrained(file)
    np.testing.assert_array_equal(again.predict(crystals), paper.predict(crystals))


def test_the_paper_says_what_it_cannot_do(paper):
    other = next(iter(packings(14, 3.0)))
    with pytest.raises(ParametersError, match=r"space group 14.* is for 1"):
        paper.predict([other])
    rows = paper.score([other, next(iter(packings()))])
    assert [row["status"] for row in rows] == ["parameters", "ok"]
    with pytest.raises(ValueError, match="gives no forces"):
        paper.as_calculator()


def test_several_independent_molecules_are_refused(paper):
    first, second = molecule("H2O"), molecule("H2O")
    second.rotate(50, "z")
    second.positions += [3.1, 0.4, 0.2]
    pair = Atoms(cell=[6.5, 5.1, 4.9], pbc=True) + first + second
    with pytest.raises(ParametersError, match="2 molecules are independent"):
        paper.predict([pair])


def test_what_is_no_database_of_labels_is_named(tmp_path, make_config):
    with pytest.raises(FileNotFoundError, match=r"no database .*none\.db"):
        read_labelled(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("a table")
    with pytest.raises(ValueError, match="is no database"):
        read_labelled(tmp_path / "text.db")
    few = list(packings())[:2]
    failed = write_labels(tmp_path / "failed.db", few, status="salt")
    with pytest.raises(ValueError, match="none of 2 crystals has an energy"):
        read_labelled(failed)
    write_labels(tmp_path / "two.db", few)
    both = write_labels(tmp_path / "two.db", few, method="mace")
    with pytest.raises(ValueError, match=r"several methods.*lj test; mace test"):
        read_labelled(both)


def test_crystals_of_unknown_elements_are_left_out(make_config, caplog):
    task = tasks.LatticeTask(make_config("lattice", {"elements": [1, 6, 8]}))
    parts = task.load_parts()
    assert "left out: the predictor does not know N" in caplog.text
    formulas = {name for part in parts.values() for name in part.formulas}
    assert formulas <= {"H2O", "CH2O", "CH4O"}
    task = tasks.LatticeTask(make_config("lattice", {"elements": [9, 17]}))
    with pytest.raises(ValueError, match=r"data.train: no crystal to use of 30"):
        task.load_parts()


def test_labels_of_two_methods_or_of_relaxed_crystals_do_not_mix(
    make_config, labels, tmp_path
):
    few = list(packings())[:3]
    other = write_labels(tmp_path / "other.db", few, method="mace")
    data = {"train": labels, "valid": other, "fractions": {"train": 1}}
    with pytest.raises(ValueError, match="several methods do not mix: lj test; mace"):
        tasks.LatticeTask(make_config("lattice", {}, data=data)).load_parts()
    relaxed = write_labels(tmp_path / "relaxed.db", few, relax="both")
    with pytest.raises(ValueError, match="energies of relaxed crystals"):
        read_labelled(relaxed)


def test_every_part_gets_crystals(make_config, labels):
    """Of five formulas a tenth is none: crystals are drawn instead."""
    shares = {"train": 0.8, "valid": 0.1, "test": 0.1}
    data = {"train": labels, "fractions": shares}
    parts = tasks.LatticeTask(make_config("lattice", {}, data=data)).load_parts()
    assert [len(part) for part in parts.values()] == [40, 5, 5]


def test_numbers_that_are_the_same_in_all_crystals_are_not_blown_up(
    make_config, tmp_path
):
    file = write_labels(tmp_path / "p21c.db", packings(14, 3.0))
    data = {"train": file, "fractions": {"train": 0.6, "valid": 0.4}}
    config = make_config("lattice-paper", SHAPES["lattice-paper"], data=data)
    predictor = LatticeEnergyPredictor.from_pretrained(train(config))
    crystal = next(iter(packings(14, 3.0)))
    skewed = crystal.to_atoms()
    cell = skewed.cell.array.copy()
    cell[1, 0] += 1e-5
    skewed.set_cell(cell)
    before, after = predictor.predict([crystal, skewed])
    assert abs(after - before) < 0.1


def test_means_of_another_embedding_are_refused(make_config):
    shape = SHAPES["lattice-paper"] | {"means": [0.0] * 5, "scales": [1.0] * 5}
    task = tasks.LatticePaperTask(make_config("lattice-paper", shape))
    with pytest.raises(ValueError, match="volume and 12 parameters are 13 numbers"):
        task.model_settings(task.load_parts()["train"])


def test_divergence_is_named(make_config):
    optimizer = {"batch_size": 10, "lr": 1e8, "warmup_steps": 0, "clip": None}
    config = make_config("lattice-paper", SHAPES["lattice-paper"], optimizer=optimizer)
    with pytest.raises(DivergenceError, match="training diverged"):
        train(config)


def test_few_formulas_do_not_make_a_predictor_more_certain(make_config, tmp_path):
    shape = LatticePaperConfig(
        (1, 6, 7, 8), "volume", means=(0.0,) * 13, scales=(1.0,) * 13
    )
    small = dataclasses.replace(shape, width=8, depth=1)
    begun = save_checkpoint(
        tmp_path / "begun.safetensors", LatticePaper(small), {"spread": (2.0, 1e6)}
    )
    best = train(
        make_config("lattice-paper", {}, init=str(begun), stop={"max_steps": 4})
    )
    assert LatticeEnergyPredictor.from_pretrained(best).card["spread"][1] == 1e6


def test_a_resumed_run_with_dropout_is_exact(make_config, tmp_path):
    shape = SHAPES["lattice-paper"] | {"dropout": 0.5}
    optimizer = {"batch_size": 10, "schedule": "constant", "warmup_steps": 0}

    def run(name, *limits):
        best = tmp_path
        for steps in limits:
            best = train(
                make_config(
                    "lattice-paper",
                    shape,
                    output=str(tmp_path / name),
                    optimizer=optimizer,
                    stop={"max_steps": steps},
                )
            )
        return torch.load(best.parent / "last.ckpt", weights_only=True)["state_dict"]

    whole, parts = run("whole", 40), run("parts", 20, 40)
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[name], rtol=0, atol=0)


def test_shapes_that_make_no_sense_are_refused():
    cases: list[dict[str, Any]] = [
        {"width": 0},
        {"members": 0},
        {"dropout": 2},
        {"spacegroup": 999},
    ]
    for wrong in cases:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LatticePaperConfig((1, 8), **wrong)


def test_crystals_without_energy_are_left_out(tmp_path, caplog):
    few = list(packings())[:3]
    file = write_labels(tmp_path / "some.db", few)
    write_labels(tmp_path / "some.db", few[:1], status="salt")
    assert len(read_labelled(file)[0]) == 3
    assert "1 of 4 have no energy" in caplog.text


def test_agreement():
    assert rank_correlation(["a", "a", "b"], [1, 2, 3], [1, 2, 3]) is None
    names = np.repeat(["a", "b"], 4)
    made = [1, 2, 3, 4, 1, 2, 3, 4]
    given = [1, 2, 3, 4, 4, 3, 2, 1]
    assert rank_correlation(names, made, given) == pytest.approx(0.0)
    rng = np.random.default_rng(0)
    width = rng.uniform(0.1, 2, 20_000)
    members = np.stack([width, -width])
    wrong = rng.normal(size=len(width)) * np.hypot(1.5 * width, 0.7)
    factor, floor = expected_errors(wrong, members)
    assert (factor, floor) == pytest.approx((1.5, 0.7), abs=0.05)
