"""Several processes train as one does, and leave what one leaves."""

import json
import os
import subprocess
import sys

import pytest
import torch

from equicalc.checkpoint import load_checkpoint
from equicalc.training import config_from_dict, train
from equicalc.training.batches import EndlessBatches

SCRIPT = """
import json, sys
from pathlib import Path
from equicalc.training import config_from_dict, report, train

report.plot_parity = report.plot_learning_curve = lambda *_: None
train(config_from_dict(json.loads(Path(sys.argv[1]).read_text())))
"""


def run_alone(config, folder):
    """Train in a process of its own, which Lightning can start again."""
    (folder / "train.py").write_text(SCRIPT)
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "train.py", "config.json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("LOCAL_RANK", None)
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("no_plots")
def test_two_processes_train_as_one_does_and_either_goes_on(spring_set, tmp_path):
    """Energies count the same for each structure, so that equal shares are fair."""

    def config(name, devices, steps):
        return {
            "output": str(tmp_path / name),
            "data": {
                "train": str(spring_set),
                "fractions": {"train": 0.7, "valid": 0.3},
            },
            "model": {"cutoff": 4.0, "ls": [0, 1], "channels": 4, "layers": 2},
            "loss": {"energy": 1.0, "forces": 0.0, "kind": "mse"},
            "optimizer": {"batch_size": 4, "lr": 0.01, "schedule": "constant"},
            "stop": {"max_steps": steps},
            "trainer": {
                "devices": devices,
                "device": "cpu",
                "threads": 1,
                "val_every_steps": 4,
                "log_every": 1,
                "progress": False,
                "backend": "torch",
            },
        }

    whole = train(config_from_dict(config("whole", 1, 12)))
    run_alone(config("shared", 2, 8), tmp_path)
    shared = tmp_path / "shared"
    log = (shared / "train.csv").read_text().splitlines()
    steps = [line.partition(",")[0] for line in log]
    assert steps == ["step", *map(str, range(1, 9))]  # each once, by one process
    best = train(config_from_dict(config("shared", 1, 12)))
    assert (best.parent / "metrics.json").is_file()
    a, b = (load_checkpoint(path, backend="torch")[0] for path in (whole, best))
    for name, weight in a.state_dict().items():
        torch.testing.assert_close(b.state_dict()[name], weight, rtol=1e-3, atol=1e-5)


def test_shares_make_up_the_batch():
    whole = iter(EndlessBatches(7, 3, seed=0))
    shares = [iter(EndlessBatches(7, 3, seed=0, share=(k, 2))) for k in (0, 1)]
    for _ in range(4):
        parts = [index for share in shares for index in next(share)]
        assert sorted(parts) == next(whole).tolist()


def test_a_batch_is_not_shared_by_more_devices_than_structures():
    with pytest.raises(ValueError, match="batches of 2 structures cannot be shared"):
        EndlessBatches(7, 2, seed=0, share=(0, 3))
