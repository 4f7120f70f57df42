"""The readers under test."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equicalc.checkpoint import load_checkpoint
from equicalc.crystals import MolecularCrystal
from equicalc.data.qm9 import read_qm9, read_uncharacterized
from equicalc.data.smiles import read_smiles
from equicalc.design import load_design
from equicalc.generators.metrics.statistics import Statistics
from equicalc.labelling import load_options
from equicalc.simulation import read_log
from equicalc.training import load_config

from . import crafted, files
from .mutations import ANY, TEXT


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


def _none(folder, whole, mark):
    yield from ()


def _readers():
    text, binary = TEXT, ANY
    broken, npz = crafted.text_files, crafted.npz_files
    meta, array = files.packed_file("meta.json"), files.packed_file("pos.npy")
    yield Reader(
        "extxyz as data set",
        "a.extxyz",
        files.extxyz,
        files.dataset,
        text,
        crafted.extxyz_files,
    )
    yield Reader(
        "extxyz to continue",
        "a.extxyz",
        files.generated,
        files.continue_generation,
        text,
        crafted.extxyz_files,
    )
    yield Reader(
        "cif as crystal",
        "a.cif",
        files.crystal,
        MolecularCrystal.from_file,
        text,
        crafted.cif_files,
    )
    yield Reader(
        "cif as structures",
        "a.cif",
        files.crystal,
        files.structures,
        text,
        crafted.cif_files,
    )
    yield Reader("traj", "a.traj", files.traj, files.structures, binary, broken)
    yield Reader(
        "ASE database",
        "a.db",
        files.database,
        files.structures,
        binary,
        crafted.database_files,
    )
    yield Reader(
        "database of a design",
        "a.db",
        files.run,
        files.read_run,
        binary,
        crafted.database_files,
    )
    yield Reader(
        "database to continue",
        "a.db",
        files.generated,
        files.continue_generation,
        binary,
        crafted.database_files,
    )
    for name, content, read in (
        ("training", files.TRAINING, load_config),
        ("design", files.DESIGN, load_design),
        ("labelling", files.LABELLING, load_options),
    ):
        yield Reader(
            f"yaml of {name}",
            "a.yaml",
            files.yaml_file(content),
            read,
            text,
            crafted.yaml_files,
        )
    yield Reader(
        "safetensors",
        "a.safetensors",
        files.model,
        load_checkpoint,
        binary,
        crafted.safetensors_files,
    )
    yield Reader(
        "training checkpoint",
        "a.ckpt",
        files.training_checkpoint,
        files.in_folder("last.ckpt"),
        binary,
        crafted.torch_files,
        "last.ckpt",
    )
    yield Reader("npz of rMD17", "a.npz", files.rmd17, files.dataset, binary, npz)
    yield Reader("npz of QM9", "a.npz", files.qm9_table, files.dataset, binary, npz)
    yield Reader(
        "npz of properties", "a.npz", files.qm9_table, files.properties, binary, npz
    )
    yield Reader(
        "npz of SMILES",
        "a.npz",
        lambda path: np.savez(path, smiles=["C", "CCO"]),
        read_smiles,
        binary,
        npz,
    )
    yield Reader("npz of labels", "a.npz", files.shard, files.read_labels, binary, npz)
    yield Reader(
        "npz of statistics", "a.npz", files.statistics, Statistics.load, binary, npz
    )
    yield Reader(
        "npz to resume a run",
        "a.npz",
        files.restart,
        files.resume,
        binary,
        npz,
        "relax.extxyz",
    )
    yield Reader("packed, json", "meta.json", *meta, text, broken, ".set")
    yield Reader("packed, npy", "pos.npy", *array, binary, broken, "pos.npy")
    yield Reader(
        "archive of QM9",
        "a.tar.gz",
        files.archive,
        lambda path: list(read_qm9(path)),
        binary,
        broken,
    )
    yield Reader(
        "record of QM9",
        "a.xyz",
        files.lines(*files.RECORD.splitlines()),
        lambda path: list(read_qm9(path)),
        text,
        broken,
    )
    yield Reader(
        "list of QM9",
        "a.txt",
        files.lines("21 C", "22 N"),
        read_uncharacterized,
        text,
        broken,
    )
    yield Reader(
        "SMILES, smi",
        "a.smi",
        files.lines("C methane", "# none", "CCO"),
        read_smiles,
        text,
        broken,
    )
    yield Reader(
        "SMILES, csv",
        "a.csv",
        files.lines("name,smiles", "a,C", "b,CCO"),
        read_smiles,
        text,
        broken,
    )
    yield Reader(
        "log of a run",
        "a.csv",
        files.lines("step,energy", "0,1.5", "1,1.0"),
        read_log,
        text,
        broken,
    )


READERS = {reader.name: reader for reader in _readers()}
