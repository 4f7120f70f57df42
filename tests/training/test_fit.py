"""Whole runs: they learn, they go on where they stopped, they say what is wrong."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from equicalc.checkpoint import load_checkpoint
from equicalc.header import read_header
from equicalc.training import config_from_dict, train
from equicalc.training.callbacks import ProgressBar

pytestmark = pytest.mark.usefixtures("no_plots")


def weights(path):
    return load_checkpoint(path, backend="torch")[0].state_dict()


def table(path):
    """The rows of a log without their times."""
    with path.open() as file:
        return [{**row, "elapsed": ""} for row in csv.DictReader(file)]


def assert_same_run(one, other):
    for name in ("train.csv", "valid.csv"):
        assert table(one / name) == table(other / name)
    a, b = weights(one / "best.safetensors"), weights(other / "best.safetensors")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_loss_falls(make_config):
    config = make_config(stop={"max_steps": 60}, optimizer={"ema_decay": 0.9})
    best = train(config)
    losses = [float(row["loss"]) for row in table(best.parent / "train.csv")]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_run_leaves_metrics_and_card(make_config):
    best = train(make_config(card={"level_of_theory": "springs"}))
    metrics = json.loads((best.parent / "metrics.json").read_text())
    assert set(metrics) == {"valid", "test"}
    assert set(metrics["valid"]["kinds"]) == {"even", "odd"}
    _, card = load_checkpoint(best, backend="torch")
    assert card["level_of_theory"] == "springs"
    assert card["elements"] == [1, 8]
    assert card["metrics"]["valid"]["forces"]["mae"] > 0


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_continued_run_equals_whole_run(make_config, tmp_path, kind):
    constant = {"schedule": "constant", "kind": kind}
    whole = train(make_config(output=str(tmp_path / "whole"), optimizer=constant))
    best = train(make_config(stop={"max_steps": 8}, optimizer=constant))
    # the newest checkpoint is cut short: the one before is used
    last = best.parent / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    train(make_config(optimizer=constant, trainer={"num_workers": 1}))
    assert_same_run(best.parent, whole.parent)


def test_finished_run_is_kept_unless_told_otherwise(make_config):
    best = train(make_config())
    before = table(best.parent / "train.csv")
    # the same again: nothing is trained
    train(make_config())
    assert table(best.parent / "train.csv") == before
    # another model: an error
    with pytest.raises(ValueError, match=r"another 'model'.*resume=False"):
        train(make_config(model={"channels": 8}))
    # unreadable checkpoints: an error
    for name in ("last.ckpt", "previous.ckpt"):
        (best.parent / name).write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read"):
        train(make_config())
    # a new run
    train(make_config(model={"channels": 8}), resume=False)
    assert read_header(best)["model"]["config"]["channels"] == 8
    assert len(table(best.parent / "train.csv")) == len(before)


def test_run_of_an_earlier_version_goes_on_where_nothing_new_is_asked(make_config):
    """Its record lacks sections and keys that there were not: their defaults."""
    best = train(make_config(stop={"max_steps": 4}))
    record = best.parent / "run.json"
    content = json.loads(record.read_text())
    for section in ("properties", "regularise"):
        del content["config"][section]
    del content["config"]["optimizer"]["plateau_patience"]
    record.write_text(json.dumps(content))
    train(make_config(stop={"max_steps": 8}))
    assert table(best.parent / "train.csv")[-1]["step"] == "8"
    # but not where it is
    asked = {"regularise": {"irrep_sparsity": 0.1}}
    with pytest.raises(ValueError, match="another 'regularise': None, now"):
        train(make_config(**asked))
    with pytest.raises(ValueError, match=r"another 'optimizer'.*20"):
        train(make_config(optimizer={"plateau_patience": 20}))
    # nor where it had something that is unknown now
    content["config"]["optimizer"]["momentum"] = 0.9
    record.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"another version \(optimizer\.momentum"):
        train(make_config())


def test_a_model_that_cannot_be_trained_is_named(make_config):
    config = dataclasses.replace(make_config(), task="mace")
    with pytest.raises(ValueError, match="no training of 'mace'; choose from"):
        train(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"train": "nowhere"}}, "nowhere"),
        ({"model": {"elements": [1]}}, r"\[8\].*model\.elements \[1\]"),
        ({"trainer": {"device": "cuda"}}, "there is no GPU"),
    ],
)
def test_new_run_that_cannot_begin_leaves_the_old_one(
    make_config, monkeypatch, changes, message
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    best = train(make_config())
    before = {file: file.read_bytes() for file in best.parent.iterdir()}
    with pytest.raises(ValueError, match=message):
        train(make_config(**changes), resume=False)
    assert {file: file.read_bytes() for file in best.parent.iterdir()} == before


def test_progress_bar_is_removed_even_before_it_is_drawn():
    """Else an error before the first step would be hidden by another."""
    ProgressBar().on_exception(None, None, ValueError())  # type: ignore[arg-type]


KILLED = """
import json, sys
from equicalc.training import config_from_dict, train
train(config_from_dict(json.loads(sys.argv[1])))
"""


@pytest.mark.parametrize(
    ("number", "minutes", "workers", "code"),
    [
        (signal.SIGKILL, 0.0, 0, -signal.SIGKILL),
        (signal.SIGTERM, 99.0, 0, 143),
        (signal.SIGINT, 99.0, 0, -signal.SIGINT),
        (signal.SIGINT, 99.0, 2, -signal.SIGINT),
        (signal.SIGTERM, 99.0, 2, 143),
    ],
)
def test_stopped_run_goes_on_to_the_same_end(
    make_config, tmp_path, number, minutes, workers, code
):
    length = {"max_steps": 60}
    whole = train(make_config(output=str(tmp_path / "whole"), stop=length))
    trainer = {"checkpoint_minutes": minutes, "num_workers": workers}
    config = make_config(stop=length, trainer=trainer)
    log = tmp_path / "run" / "train.csv"
    content = json.dumps(dataclasses.asdict(config))
    command = [sys.executable, "-c", KILLED, content]
    process = subprocess.Popen(command, start_new_session=True)
    while process.poll() is None and not (log.exists() and len(table(log)) > 9):
        time.sleep(0.01)
    os.killpg(process.pid, number)  # as a terminal does, the workers too
    assert process.wait() == code
    steps = len(table(log))
    assert 9 < steps < 60
    if number != signal.SIGKILL:  # nothing is lost
        saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
        assert saved["global_step"] == steps
    best = train(config)
    assert_same_run(best.parent, whole.parent)


def test_a_signal_during_a_validation_loses_nothing(make_config, tmp_path):
    asked = []

    def check(model):
        if not asked:
            asked.append(signal.raise_signal(signal.SIGTERM))
        return {}

    config = make_config(stop={"max_steps": 60}, trainer={"checkpoint_minutes": 99.0})
    with pytest.raises(SystemExit) as ended:
        train(config, check=check)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == len(table(tmp_path / "run" / "train.csv"))


def test_a_run_cut_short_of_its_first_validation_is_named(make_config):
    best = train(make_config(stop={"max_steps": 5}))
    best.unlink()  # as if it had been stopped before
    with pytest.raises(ValueError, match="is at step 5, before its first validation"):
        train(make_config(stop={"max_steps": 4}))


@pytest.mark.parametrize("schedule", ["cosine", "time-cosine"])
def test_time_limit_ends_the_run(make_config, schedule):
    config = make_config(
        stop={"max_steps": None, "max_time": 1.0},
        optimizer={"schedule": schedule},
    )
    best = train(config)
    rows = table(best.parent / "train.csv")
    assert float(rows[-1]["lr"]) < 0.2 * config.optimizer.lr


def test_patience_ends_the_run(make_config):
    config = make_config(
        stop={"max_steps": 1000, "patience": 2},
        optimizer={"lr": 1e-12, "ema_decay": 0.0},
        loss={"kind": "l1"},
    )
    best = train(config)
    assert len(table(best.parent / "train.csv")) < 100


def test_diverged_run_says_so(make_config):
    config = make_config(optimizer={"lr": 1e30, "clip": None, "warmup_steps": 0})
    with pytest.raises(RuntimeError, match=r"diverged at step .* lower optimizer\.lr"):
        train(config)


def test_missing_label_is_named(make_config):
    config = make_config(loss={"dipole": 1.0})
    with pytest.raises(
        ValueError, match=r"loss\.dipole > 0, but the data .* no dipole"
    ):
        train(config)


def test_truncated_data_set_is_named(make_config, spring_set, tmp_path):
    copy = tmp_path / "cut"
    copy.mkdir()
    for file in spring_set.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "pos.npy").write_bytes((copy / "pos.npy").read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"pos\.npy"):
        train(make_config(data={"train": str(copy)}))


def test_training_imports_no_chemistry(make_config):
    content = json.dumps(dataclasses.asdict(make_config(stop={"max_steps": 1})))
    code = (
        "import json, sys\n"
        "from equicalc.training import train\n"
        "from equicalc.training.config_file import config_from_dict\n"
        "train(config_from_dict(json.loads(sys.argv[1])))\n"
        "print([m for m in ('ase', 'rdkit', 'vesin') if m in sys.modules])\n"
    )
    run = [sys.executable, "-c", code, content]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_config_survives_a_dictionary(make_config):
    config = make_config()
    assert config_from_dict(dataclasses.asdict(config)) == config
