"""The readers under test: how a whole file is made, and how it is read."""

import io
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.crystals import MolecularCrystal
from equicalc.data import PackedDataset, open_dataset, read_structures, write_packed
from equicalc.data.properties import read_properties
from equicalc.data.qm9 import TARGETS, read_qm9, read_uncharacterized
from equicalc.data.smiles import read_smiles
from equicalc.design import Record, RunDatabase, load_design
from equicalc.generators.metrics.statistics import Statistics
from equicalc.generators.metrics.validity import valid_molecule
from equicalc.generators.storage import append_structures, written_molecules
from equicalc.labelling import load_options
from equicalc.labelling.shards import read_failures, read_shard, write_shard
from equicalc.models import Potential, PotentialConfig
from equicalc.simulation import read_log, relax
from equicalc.training import load_config
from equicalc.training.callbacks import newest_checkpoint

from . import crafted
from .mutations import ANY, TEXT

NAMES = ("H2O", "CH4", "CH3CH2OH")


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes
    ----------
    name
        For the table.
    whole
        Name of a file that can be read.
    make
        Writes that file.
    read
        Reads a file to its end.
    mutations
        What may happen to the bytes.
    crafted
        Yields files that are broken on purpose.
    shown
        What an error must name, if not the file.
    """

    name: str
    whole: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    mutations: list
    crafted: Callable[[Path, Path, Path], Iterator[Path]]
    shown: str | None = None


def labelled():
    for number, name in enumerate(NAMES):
        atoms = molecule(name)
        forces = np.full((len(atoms), 3), 0.1)
        atoms.calc = SinglePointCalculator(atoms, energy=-number, forces=forces)
        yield atoms


def _extxyz(path):
    write(path, list(labelled()), format="extxyz")


def _dataset(path):
    open_dataset(path, cache=path.with_suffix(".cache")).batch([0])


def _database(path):
    for atoms in labelled():
        connect(path).write(atoms, name="molecule", data={"list": [1, 2]})


def _traj(path):
    write(path, list(labelled()))


def _structures(path):
    return list(read_structures(path))


def _run(path):
    database = RunDatabase(path)
    database.settings = {"design": {"seed": 1}}
    database.write(
        Record(f"000-{number:06d}", atoms, round=0, seed=1)
        for number, atoms in enumerate(labelled())
    )


def _read_run(path):
    database = RunDatabase(path)
    return database.settings, database.records()


def _generated(path):
    molecules = [molecule(name) for name in NAMES]
    for number, atoms in enumerate(molecules):
        atoms.info |= {"seed": 0, "molecule": number}
    append_structures(path, molecules)


def _continue(path):
    written_molecules(path, seed=0)


def _crystal(path):
    urea = Atoms("CONH2NH2", positions=[
        [0, 0, 0], [0, 0, 1.26], [1.15, 0, -0.69], [2.0, 0, -0.18], [1.16, 0, -1.70],
        [-1.15, 0, -0.69], [-2.0, 0, -0.18], [-1.16, 0, -1.70],
    ])  # fmt: skip
    parameters = [6.0, 7.0, 8.0, 90, 90, 90, 0.2, 0.3, 0.1, 0.1, 0.2, 0.3]
    crystal = MolecularCrystal.from_parameters(urea, 19, parameters)
    write(path, crystal.to_atoms())


def _yaml(content):
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


def _model(path):
    config = PotentialConfig(elements=(1, 8), channels=4, layers=1, ls=(0, 1))
    save_checkpoint(path, Potential(config), {"licence": "MIT"})


def _rmd17(path):
    shape = (4, 3, 3)
    np.savez(
        path,
        nuclear_charges=np.array([8, 1, 1]),
        coords=np.arange(36.0).reshape(shape),
        energies=np.arange(4.0),
        forces=np.zeros(shape),
    )


def _qm9_table(path):
    props = np.ones((2, 2))
    z = np.array([[8, 1, 1], [6, 8, 0]])
    np.savez(path, z=z, pos=np.ones((2, 3, 3)), props=props, prop_names=["U0", "gap"])


def _properties(path):
    return read_properties(path, ["gap"])


def _shard(path):
    record = {"z": np.array([8, 1]), "pos": np.eye(3)[:2], "energy": np.float64(1)}
    write_shard(path, [record, record], [{"reason": "none"}])


def _read_shard(path):
    return read_shard(path), read_failures(path)


def _restart(path):
    trajectory = path.with_name("relax.extxyz")
    relax(molecule("H2O"), LennardJones(), steps=2, trajectory=trajectory)
    shutil.copy(trajectory.with_name("relax.extxyz.restart.npz"), path)


def _resume(path):
    folder = path.with_suffix(".run")
    folder.mkdir()
    trajectory = folder / "relax.extxyz"
    shutil.copy(path.parents[1] / "whole" / "relax.extxyz", trajectory)
    shutil.copy(path, folder / "relax.extxyz.restart.npz")
    relax(molecule("H2O"), LennardJones(), steps=3, trajectory=trajectory, resume=True)


def _statistics(path):
    found = [valid_molecule(molecule(name)) for name in NAMES]
    Statistics.of([one for one in found if one is not None]).save(path)


RECORD = "\n".join([
    "3", f"gdb 1 {' '.join(['1.5'] * len(TARGETS))}", "O 0 0 0 -0.5", "H 1 0 0 0.2",
    "H 0 1 0 0.3", "1000 2000 3000", "O O", "InChI=1S/H2O/h1H2 InChI=1S/H2O/h1H2",
])  # fmt: skip


def _archive(path):
    with tarfile.open(path, "w:gz") as archive:
        for number in range(3):
            content = RECORD.encode()
            member = tarfile.TarInfo(f"{number}.xyz")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _lines(*lines):
    return lambda path: path.write_text("\n".join(lines) + "\n")


def _training_checkpoint(path):
    state = {"a": torch.ones(3)}
    torch.save({"global_step": 3, "run_state": {}, "state_dict": state}, path)


def _in_folder(name):
    """Put a file where a training run would have it."""

    def read(path):
        folder = path.with_suffix(".run")
        folder.mkdir()
        shutil.copy(path, folder / name)
        return newest_checkpoint(folder)

    return read


def _packed_file(name):
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


def _none(folder, whole, mark):
    yield from ()


def _readers():
    text, binary = TEXT, ANY
    files, npz = crafted.text_files, crafted.npz_files
    meta, array = _packed_file("meta.json"), _packed_file("pos.npy")
    yield Reader(
        "extxyz as data set", "a.extxyz", _extxyz, _dataset, text, crafted.extxyz_files
    )
    yield Reader(
        "extxyz to continue",
        "a.extxyz",
        _generated,
        _continue,
        text,
        crafted.extxyz_files,
    )
    yield Reader(
        "cif as crystal",
        "a.cif",
        _crystal,
        MolecularCrystal.from_file,
        text,
        crafted.cif_files,
    )
    yield Reader(
        "cif as structures", "a.cif", _crystal, _structures, text, crafted.cif_files
    )
    yield Reader("traj", "a.traj", _traj, _structures, binary, files)
    yield Reader(
        "ASE database", "a.db", _database, _structures, binary, crafted.database_files
    )
    yield Reader(
        "database of a design", "a.db", _run, _read_run, binary, crafted.database_files
    )
    yield Reader(
        "database to continue",
        "a.db",
        _generated,
        _continue,
        binary,
        crafted.database_files,
    )
    for name, content, read in (
        ("training", TRAINING, load_config),
        ("design", DESIGN, load_design),
        ("labelling", LABELLING, load_options),
    ):
        yield Reader(
            f"yaml of {name}", "a.yaml", _yaml(content), read, text, crafted.yaml_files
        )
    yield Reader(
        "safetensors",
        "a.safetensors",
        _model,
        load_checkpoint,
        binary,
        crafted.safetensors_files,
    )
    yield Reader(
        "training checkpoint",
        "a.ckpt",
        _training_checkpoint,
        _in_folder("last.ckpt"),
        binary,
        crafted.torch_files,
        "last.ckpt",
    )
    yield Reader("npz of rMD17", "a.npz", _rmd17, _dataset, binary, npz)
    yield Reader("npz of QM9", "a.npz", _qm9_table, _dataset, binary, npz)
    yield Reader("npz of properties", "a.npz", _qm9_table, _properties, binary, npz)
    yield Reader(
        "npz of SMILES",
        "a.npz",
        lambda path: np.savez(path, smiles=["C", "CCO"]),
        read_smiles,
        binary,
        npz,
    )
    yield Reader("npz of labels", "a.npz", _shard, _read_shard, binary, npz)
    yield Reader(
        "npz of statistics", "a.npz", _statistics, Statistics.load, binary, npz
    )
    yield Reader(
        "npz to resume a run", "a.npz", _restart, _resume, binary, npz, "relax.extxyz"
    )
    yield Reader("packed, json", "meta.json", *meta, text, files, ".set")
    yield Reader("packed, npy", "pos.npy", *array, binary, files, "pos.npy")
    yield Reader(
        "archive of QM9",
        "a.tar.gz",
        _archive,
        lambda path: list(read_qm9(path)),
        binary,
        files,
    )
    yield Reader(
        "record of QM9",
        "a.xyz",
        _lines(*RECORD.splitlines()),
        lambda path: list(read_qm9(path)),
        text,
        files,
    )
    yield Reader(
        "list of QM9",
        "a.txt",
        _lines("21 C", "22 N"),
        read_uncharacterized,
        text,
        files,
    )
    yield Reader(
        "SMILES, smi",
        "a.smi",
        _lines("C methane", "# none", "CCO"),
        read_smiles,
        text,
        files,
    )
    yield Reader(
        "SMILES, csv",
        "a.csv",
        _lines("name,smiles", "a,C", "b,CCO"),
        read_smiles,
        text,
        files,
    )
    yield Reader(
        "log of a run",
        "a.csv",
        _lines("step,energy", "0,1.5", "1,1.0"),
        read_log,
        text,
        files,
    )


READERS = {reader.name: reader for reader in _readers()}
