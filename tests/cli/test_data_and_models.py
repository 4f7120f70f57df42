"""``equicalc label``, ``train``, ``evaluate``, ``models``, ``info`` and the help."""

import json
import tomllib
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import write

from equicalc.cli.evaluate import error_rows
from equicalc.cli.info import EXTRAS
from equicalc.data.packed import PackedDataset
from equicalc.pretrained import available

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command", ["relax", "md", "label", "train", "evaluate", "models"]
)
def test_help_teaches_by_example(cli, command):
    out = cli(command, "--help")
    assert "Examples" in out
    assert f"equicalc {command}" in out


def test_help_and_version(cli):
    assert "A first try" in cli("--help")
    assert cli("--version").startswith("equicalc 0.")


def test_info_finds_this_machine(cli):
    out = cli("info")
    for expected in ("torch", "C++ compiler", "kernel cache", "optional packages"):
        assert expected in out


def test_info_knows_every_extra_for_users():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].keys()
    assert extras - {"docs", "test", "dev"} == EXTRAS.keys()


def test_models_shows_cards(cli, checkpoint):
    out = cli("models", checkpoint)
    assert "none, random" in out
    assert "H, O" in out
    cards = json.loads(cli("models", checkpoint, "--json"))
    assert cards[str(checkpoint)]["licence"] == "MIT"
    cli("models")


CONFIG = """
output: run
data: {train: labels/packed, fractions: {train: 0.6, valid: 0.4}}
model: {cutoff: 4.0, ls: [0, 1], channels: 4, layers: 2}
stop: {max_epochs: 1}
"""


def printed_errors(out):
    """Cells of a table of errors by structures and quantity."""
    rows = [line.split(maxsplit=4) for line in out.splitlines()]
    return {tuple(row[:2]): tuple(map(str.strip, row[2:])) for row in rows if row[4:]}


def test_errors_are_printed_in_the_units_that_they_are_in():
    table = {
        "units": {"forces": "meV/Angstrom"},
        "forces": {"mae": 25.0, "rmse": 40.0},
        "kinds": {"noise": {"forces": {"mae": 1.0, "rmse": 2.0}}},
    }
    assert error_rows(table) == [
        {
            "structures": name,
            "quantity": "forces",
            "MAE": mae,
            "RMSE": rmse,
            "unit": "meV/Angstrom",
        }
        for name, mae, rmse in (("all", 25.0, 40.0), ("noise", 1.0, 2.0))
    ]


def test_options_that_a_file_decides_about_are_refused(cli, tmp_path):
    (tmp_path / "l.yaml").write_text("out: x\nsources: [{path: a.smi}]\n")
    for option in (["--frames", 9], ["--seed", 5], ["--max-heavy-atoms", 3]):
        out = cli("label", "l.yaml", *option, code=2)
        assert f"{option[0]} has no effect" in out
    assert not (tmp_path / "x").exists()
    given = ["-o", "y", "-c", "lj", "--workers", 1]
    assert "a.smi" in cli("label", "l.yaml", *given, code=2)  # all of these are used


def test_fine_tuning_starts_from_a_name_or_a_path_with_variables(
    cli, tmp_path, monkeypatch, checkpoint
):
    (tmp_path / "home").mkdir()
    for folder in (tmp_path, tmp_path / "home"):
        (folder / "x.safetensors").write_bytes(checkpoint.read_bytes())
    monkeypatch.setenv("DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    begun = []

    def train(config, resume, check):
        begun.append(Path(config.init))
        raise ValueError("far enough")

    monkeypatch.setattr("equicalc.training.train", train)
    for init in ("${DATA}/x.safetensors", "~/x.safetensors", *available()):
        (tmp_path / "c.yaml").write_text(f"{CONFIG}init: {init}\n")
        assert "far enough" in cli("train", "c.yaml", code=2)
    assert begun[:2] == [tmp_path / "x.safetensors", tmp_path / "home/x.safetensors"]
    assert all(path.is_file() for path in begun)


def test_time_on_the_command_line_is_limit_enough(cli, tmp_path, monkeypatch):
    times = []

    def train(config, resume, check):
        times.append(config.stop.max_time)
        raise ValueError("far enough")

    monkeypatch.setattr("equicalc.training.train", train)
    (tmp_path / "c.yaml").write_text("output: r\ndata: {train: s}\n")
    assert "give max_epochs" in cli("train", "c.yaml", code=2)
    assert "far enough" in cli("train", "c.yaml", "--max-time", "0:30", code=2)
    assert times == ["0:30"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--batch-size", 0], "batch_size is 0; give 1 or more"),
        (["--device", "foo"], "device 'foo' is not known"),
        (["-m", "symphony"], "symphony is a Symphony, which has no energies of str"),
    ],
)
def test_evaluation_that_makes_no_sense_is_refused(cli, tmp_path, option, message):
    write(tmp_path / "water.extxyz", molecule("H2O"))
    assert message in cli("evaluate", "water.extxyz", *option, code=2)


def test_label_train_evaluate(cli, tmp_path):
    label = ["label", "CO", "C=O", "OCO", "--frames", 4, "--workers", 1]
    label += ["--elements", "H,C,O"]
    assert "labelled structures: labels/packed" in cli(*label)
    data = PackedDataset(tmp_path / "labels" / "packed")
    assert len(data) >= 8
    assert data.meta["level_of_theory"].startswith("GFN2-xTB")
    cli(*label)  # nothing left to do
    (tmp_path / "c.yaml").write_text(CONFIG)
    out = cli("train", "c.yaml")
    assert "the best model:" in out
    best = tmp_path / "run" / "best.safetensors"
    out = cli("evaluate", "labels/packed", "-m", best, "-o", "errors")
    assert f"on {len(data)} structures" in out
    metrics = json.loads((tmp_path / "errors" / "metrics.json").read_text())
    mae, rmse, unit = printed_errors(out)["all", "forces"]
    assert float(mae) == pytest.approx(metrics["forces"]["mae"], rel=1e-3)
    assert float(rmse) == pytest.approx(metrics["forces"]["rmse"], rel=1e-3)
    assert unit == "meV/Angstrom"
    assert metrics["n_structures"] == len(data)
    cli("relax", "O", "-m", best, "--steps", 2)
