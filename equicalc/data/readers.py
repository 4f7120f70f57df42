"""Structures and labels from files of any kind, as atoms or as a packed data set."""

import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equicalc._cache import user_cache
from equicalc.data.arrays import array_names, load_arrays
from equicalc.data.atoms import atoms_to_record
from equicalc.data.damage import naming, reason
from equicalc.data.frames import read_frames
from equicalc.data.packed import COPY_OF, PackedDataset
from equicalc.data.packing import write_packed
from equicalc.data.qm9 import read_qm9
from equicalc.data.qm9_arrays import read_qm9_arrays, read_qm9_tables
from equicalc.units import KCAL_PER_MOL

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "cache_folder",
    "open_dataset",
    "read_records",
    "read_rmd17",
    "read_structures",
]

log = logging.getLogger(__name__)


def read_structures(path: str | Path) -> "Iterator[Atoms]":
    """Read structures one at a time, with the labels that the file gives them.

    Parameters
    ----------
    path
        A file of any format that ASE reads (extxyz, cif, POSCAR, traj, ..., also
        compressed), an ASE database (``.db``), or the URL of one
        (``postgresql://...``).

    Yields
    ------
    Atoms

    Raises
    ------
    ValueError
        If the file is missing, of an unknown format, or damaged; the message counts
        structures from 0.

    Examples
    --------
    >>> import tempfile
    >>> from ase.build import molecule
    >>> file = Path(tempfile.mkdtemp()) / "water.xyz"
    >>> molecule("H2O").write(file)
    >>> [str(atoms.symbols) for atoms in read_structures(file)]
    ['OH2']
    """
    is_url = "://" in str(path)
    if not is_url and not Path(path).is_file():
        raise ValueError(f"{path} is no file")
    rows = is_url or Path(path).suffix == ".db"
    number = 0
    try:
        for atoms in _database(str(path)) if rows else read_frames(path):
            yield atoms
            number += 1
    # whatever the many parsers of ASE raise
    except Exception as error:
        raise ValueError(
            f"{path}: structure {number} cannot be read ({reason(error)}). Is the file "
            "whole, and does its suffix tell a format that ASE knows (see 'ase info "
            "--formats')?"
        ) from error
    if number == 0:
        raise ValueError(f"{path} holds no structure")


def _database(path: str) -> "Iterator[Atoms]":
    from ase.db import connect

    for row in connect(path).select():
        yield row.toatoms()


def read_rmd17(path: str | Path) -> Iterator[dict[str, Any]]:
    """Read one molecule of (revised) MD17.

    Parameters
    ----------
    path
        ``.npz`` with ``nuclear_charges``, ``coords`` (Angstrom), ``energies``
        (kcal/mol) and ``forces`` (kcal/mol/Angstrom), or with the names of the first
        edition, ``z``, ``R``, ``E`` and ``F``.

    Yields
    ------
    dict
        Records for `write_packed`, in eV and eV/Angstrom.

    Raises
    ------
    ValueError
        If the file is damaged, or arrays are missing or do not fit together.
    """
    names = ("nuclear_charges", "coords", "energies", "forces")
    if "nuclear_charges" not in array_names(path):
        names = ("z", "R", "E", "F")
    data = load_arrays(path, needed=names)
    z, coords, energies, forces = (data[name] for name in names)
    needed = (len(coords), z.size, 3)
    if coords.shape != needed or forces.shape != needed or energies.size != needed[0]:
        shapes = {name: array.shape for name, array in data.items()}
        raise ValueError(
            f"{path} has arrays of shapes {shapes}; positions and forces of shape "
            f"{needed}, and one energy for each frame, are needed"
        )
    for frame, energy, force in zip(coords, energies.reshape(-1), forces):
        yield {
            "z": z,
            "pos": frame,
            "energy": KCAL_PER_MOL * energy,
            "forces": KCAL_PER_MOL * force,
        }


def open_dataset(
    path: str | Path,
    keys: Mapping[str, str] | None = None,
    cache: str | Path | None = None,
    properties: Collection[str] = (),
) -> PackedDataset:
    """Open structures of any kind as a packed data set.

    A folder that is one already is opened as it is. Anything else is packed once, and
    found again in the cache for as long as the file does not change.

    Parameters
    ----------
    path
        A packed data set; any file that `read_structures` reads; ``.npz`` arrays of
        MD17 or QM9; the archive or the folder of raw QM9 files.
    keys
        As for `equicalc.data.atoms.atoms_labels`: where atoms keep their labels.
    cache
        Folder for packed copies; by default `cache_folder`.
    properties
        As for `equicalc.data.atoms.atoms_to_record`: what to look for in the info of
        atoms.

    Returns
    -------
    PackedDataset

    Raises
    ------
    ValueError
        If the file is missing, unknown or damaged.
    """
    if re.match(r"\w{2,}:/", str(path)):
        raise ValueError(
            f"{path} is on a server and only files are read: copy it into one with "
            f"`ase db {path} --insert-into labels.db`"
        )
    path = Path(path)
    if (path / "meta.json").is_file():
        return PackedDataset(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    records = read_records(path, keys, properties)
    status, asked = path.stat(), sorted(properties)
    identity = [str(path.resolve()), status.st_size, status.st_mtime_ns, keys, asked]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    folder = Path(cache or cache_folder()) / f"{path.name}-{digest}"
    if not folder.exists():
        log.info("packing %s into %s", path, folder)
        with naming(path, "cannot be packed"), suppress(FileExistsError):
            # which says that another process packed it meanwhile
            origin = {"source": str(path), COPY_OF: str(path)}
            write_packed(folder, records, origin)
    return PackedDataset(folder)


def cache_folder() -> Path:
    """Return the folder of packed copies.

    ``datasets`` in ``$EQUICALC_CACHE``, which is ``~/.cache/equicalc`` by default.
    """
    return user_cache() / "datasets"


def read_records(
    path: Path,
    keys: Mapping[str, str] | None = None,
    properties: Collection[str] = (),
) -> Iterator[dict[str, Any]]:
    """Read structures of any kind, as records for `equicalc.data.write_packed`.

    Parameters
    ----------
    path, keys, properties
        As for `open_dataset`, but no packed data set.

    Raises
    ------
    ValueError
        If the file is unknown or damaged.
    """
    if path.is_dir():
        if not any(path.glob("*.xyz")):
            raise ValueError(
                f"{path} is a folder without a meta.json (a packed data set) and "
                "without .xyz files (raw QM9)"
            )
        return (molecule.record() for molecule in read_qm9(path))
    if ".tar" in path.suffixes or path.suffix in (".tgz", ".tbz2"):
        return (molecule.record() for molecule in read_qm9(path))
    if path.suffix == ".npz":
        names = array_names(path)
        if {"n_atoms", "U0"} <= names:
            return read_qm9_arrays(path)
        if "prop_names" in names:
            return read_qm9_tables(path)
        return read_rmd17(path)
    return (atoms_to_record(atoms, keys, properties) for atoms in read_structures(path))
