"""Files of every kind: how a whole one is made, and how it is read."""

import io
import shutil
import tarfile

import numpy as np
import torch
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from equicalc.checkpoint import save_checkpoint
from equicalc.crystals import MolecularCrystal
from equicalc.data import PackedDataset, open_dataset, read_structures, write_packed
from equicalc.data.properties import read_properties
from equicalc.data.qm9 import TARGETS
from equicalc.design import Record, RunDatabase
from equicalc.generators.metrics.statistics import Statistics
from equicalc.generators.metrics.validity import valid_molecule
from equicalc.generators.storage import append_structures, written_molecules
from equicalc.labelling.shards import read_failures, read_shard, write_shard
from equicalc.models import Potential, PotentialConfig
from equicalc.simulation import relax
from equicalc.training.callbacks import newest_checkpoint

NAMES = ("H2O", "CH4", "CH3CH2OH")


def labelled():
    for number, name in enumerate(NAMES):
        atoms = molecule(name)
        forces = np.full((len(atoms), 3), 0.1)
        atoms.calc = SinglePointCalculator(atoms, energy=-number, forces=forces)
        yield atoms


def extxyz(path):
    write(path, list(labelled()), format="extxyz")


def dataset(path):
    open_dataset(path, cache=path.with_suffix(".cache")).batch([0])


def database(path):
    for atoms in labelled():
        connect(path).write(atoms, name="molecule", data={"list": [1, 2]})


def traj(path):
    write(path, list(labelled()))


def structures(path):
    return list(read_structures(path))


def run(path):
    database = RunDatabase(path)
    database.settings = {"design": {"seed": 1}}
    database.write(
        Record(f"000-{number:06d}", atoms, round=0, seed=1)
        for number, atoms in enumerate(labelled())
    )


def read_run(path):
    database = RunDatabase(path)
    return database.settings, database.records()


def generated(path):
    molecules = [molecule(name) for name in NAMES]
    for number, atoms in enumerate(molecules):
        atoms.info |= {"seed": 0, "molecule": number}
    append_structures(path, molecules)


def continue_generation(path):
    written_molecules(path, seed=0)


def crystal(path):
    urea = Atoms("CONH2NH2", positions=[
        [0, 0, 0], [0, 0, 1.26], [1.15, 0, -0.69], [2.0, 0, -0.18], [1.16, 0, -1.70],
        [-1.15, 0, -0.69], [-2.0, 0, -0.18], [-1.16, 0, -1.70],
    ])  # fmt: skip
    parameters = [6.0, 7.0, 8.0, 90, 90, 90, 0.2, 0.3, 0.1, 0.1, 0.2, 0.3]
    crystal = MolecularCrystal.from_parameters(urea, 19, parameters)
    write(path, crystal.to_atoms())


def yaml_file(content):
    return lambda path: path.write_text(yaml.safe_dump(content))


TRAINING = {
    "output": "run",
    "task": "potential",
    "seed": 1,
    "data": {"train": "labels.extxyz", "fractions": {"train": 0.9, "valid": 0.1}},
    "model": {"channels": 8, "layers": 2, "ls": [0, 1]},
    "optimizer": {"batch_size": 4, "lr": 0.01},
    "stop": {"max_epochs": 2},
    "card": {"licence": "MIT"},
}
DESIGN = {
    "output": "run",
    "molecules": 8,
    "rounds": 2,
    "seed": 3,
    "steps": ["valid", {"top": {"n": 4, "by": "gap"}}],
}
LABELLING = {
    "out": "labels",
    "sources": [{"path": "molecules.smi", "frames": 3}],
    "elements": ["H", "C"],
    "dimers": 2,
}


def model(path):
    config = PotentialConfig(elements=(1, 8), channels=4, layers=1, ls=(0, 1))
    save_checkpoint(path, Potential(config), {"licence": "MIT"})


def rmd17(path):
    shape = (4, 3, 3)
    np.savez(
        path,
        nuclear_charges=np.array([8, 1, 1]),
        coords=np.arange(36.0).reshape(shape),
        energies=np.arange(4.0),
        forces=np.zeros(shape),
    )


def qm9_table(path):
    props = np.ones((2, 2))
    z = np.array([[8, 1, 1], [6, 8, 0]])
    np.savez(path, z=z, pos=np.ones((2, 3, 3)), props=props, prop_names=["U0", "gap"])


def properties(path):
    return read_properties(path, ["gap"])


def shard(path):
    record = {"z": np.array([8, 1]), "pos": np.eye(3)[:2], "energy": np.float64(1)}
    write_shard(path, [record, record], [{"reason": "none"}])


def read_labels(path):
    return read_shard(path), read_failures(path)


def restart(path):
    trajectory = path.with_name("relax.extxyz")
    relax(molecule("H2O"), LennardJones(), steps=2, trajectory=trajectory)
    shutil.copy(trajectory.with_name("relax.extxyz.restart.npz"), path)


def resume(path):
    folder = path.with_suffix(".run")
    folder.mkdir()
    trajectory = folder / "relax.extxyz"
    shutil.copy(path.parents[1] / "whole" / "relax.extxyz", trajectory)
    shutil.copy(path, folder / "relax.extxyz.restart.npz")
    relax(molecule("H2O"), LennardJones(), steps=3, trajectory=trajectory, resume=True)


def statistics(path):
    found = [valid_molecule(molecule(name)) for name in NAMES]
    Statistics.of([one for one in found if one is not None]).save(path)


RECORD = "\n".join([
    "3", f"gdb 1 {' '.join(['1.5'] * len(TARGETS))}", "O 0 0 0 -0.5", "H 1 0 0 0.2",
    "H 0 1 0 0.3", "1000 2000 3000", "O O", "InChI=1S/H2O/h1H2 InChI=1S/H2O/h1H2",
])  # fmt: skip


def archive(path):
    with tarfile.open(path, "w:gz") as archive:
        for number in range(3):
            content = RECORD.encode()
            member = tarfile.TarInfo(f"{number}.xyz")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def lines(*lines):
    return lambda path: path.write_text("\n".join(lines) + "\n")


def training_checkpoint(path):
    state = {"a": torch.ones(3)}
    torch.save({"global_step": 3, "run_state": {}, "state_dict": state}, path)


def in_folder(name):
    """Put a file where a training run would have it."""

    def read(path):
        folder = path.with_suffix(".run")
        folder.mkdir()
        shutil.copy(path, folder / name)
        return newest_checkpoint(folder)

    return read


def packed_file(name):
    def make(path):
        records = (
            {"z": a.numbers, "pos": a.positions, "energy": 1.0} for a in labelled()
        )
        write_packed(path.with_name("set"), records)
        shutil.copy(path.with_name("set") / name, path)

    def read(path):
        folder = path.with_suffix(".set")
        shutil.copytree(path.parents[1] / "whole" / "set", folder)
        shutil.copy(path, folder / name)
        PackedDataset(folder).batch([0, 1])

    return make, read
