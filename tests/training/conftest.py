"""A small world: random clusters held together by springs of length 1.5 Angstrom."""

import numpy as np
import pytest
from ase.build import molecule

from equicalc.data import write_packed
from equicalc.data.packed import PackedDataset
from equicalc.training import (
    TrainConfig,
    config_from_dict,
    head_task,
    mo3enet_task,
    property_task,
    report,
    symphony_task,
)

MOLECULES, FRAMES = 10, 4
NAMES = ("CH3OH", "H2O", "CH4", "H2CO", "CH3CHO", "C2H4", "HCOOH", "C2H6")
TRAINER = {"threads": 1, "log_every": 1, "progress": False, "backend": "torch"}


def springs(z, pos):
    """Energy and forces of springs between all atoms, and 2 eV for every proton."""
    difference = pos[:, None] - pos[None]  # (n, n, 3)
    distance = np.linalg.norm(difference, axis=-1) + np.eye(len(z))
    stretch = (distance - 1.5) * (1 - np.eye(len(z)))
    forces = -(2 * stretch / distance)[:, :, None] * difference
    return 0.5 * np.square(stretch).sum() + 2.0 * z.sum(), forces.sum(1)


def clusters(seed=0):
    rng = np.random.default_rng(seed)
    for group in range(MOLECULES):
        n = int(rng.integers(2, 5))
        z = rng.choice([1, 8], n)
        base = 1.2 * rng.permutation(np.indices((2, 2, 2)).reshape(3, 8).T)[:n]
        for frame in range(FRAMES):
            pos = base + 0.15 * rng.normal(size=(n, 3))
            energy, forces = springs(z, pos)
            yield {
                "z": z,
                "pos": pos,
                "energy": energy,
                "forces": forces,
                "group": group,
                "kind": frame % 2,
            }


@pytest.fixture(scope="session")
def spring_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "springs"
    write_packed(folder, clusters(), {"kinds": ["even", "odd"]})
    return folder


@pytest.fixture
def no_plots(monkeypatch):
    """Pictures take longer than the runs."""
    for module, name in (
        (report, "plot_parity"),
        (report, "plot_learning_curve"),
        (head_task, "plot_terms"),
        (mo3enet_task, "plot_terms"),
        (symphony_task, "plot_terms"),
        (property_task, "plot_target_errors"),
    ):
        monkeypatch.setattr(module, name, lambda *_: None)


@pytest.fixture
def make_config(spring_set, tmp_path):
    """Return a function: changes by section -> a configuration of a small run."""

    def make(**changes) -> TrainConfig:
        content = {
            "output": str(tmp_path / "run"),
            "data": {
                "train": str(spring_set),
                "fractions": {"train": 0.7, "valid": 0.2, "test": 0.1},
            },
            "model": {
                "cutoff": 4.0,
                "ls": [0, 1],
                "channels": 4,
                "layers": 2,
                "dipole": False,
                "repulsion": False,
            },
            "loss": {"kind": "mse"},
            "optimizer": {"batch_size": 4, "lr": 0.02, "warmup_steps": 2},
            "stop": {"max_steps": 12},
            "trainer": TRAINER | {"val_every_steps": 4},
        }
        for section, values in changes.items():
            if isinstance(values, dict):
                content[section] = content.get(section, {}) | values
            else:
                content[section] = values
        return config_from_dict(content)

    return make


@pytest.fixture(scope="session")
def molecules(tmp_path_factory):
    """Eight small molecules without labels, the second of which is water."""
    folder = tmp_path_factory.mktemp("data") / "molecules"
    records = ({"z": a.numbers, "pos": a.positions} for a in map(molecule, NAMES))
    write_packed(folder, records)
    return PackedDataset(folder)


@pytest.fixture
def configure(molecules, tmp_path):
    """Return a function: task, model, changes -> a run of six steps on `molecules`."""

    def make(task, model, **changes) -> TrainConfig:
        folder = str(molecules.path)
        content = {
            "task": task,
            "output": str(tmp_path / "run"),
            "data": {"train": folder, "valid": folder, "fractions": {"train": 1}},
            "model": model,
            "optimizer": {"batch_size": 4, "lr": 0.01, "schedule": "constant"},
            "stop": {"max_steps": 6},
            "trainer": TRAINER | {"val_every_steps": 2},
        }
        return config_from_dict(content | changes)

    return make
