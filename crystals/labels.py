"""Label crystals of files in parallel, into an ASE database, resumable."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from equicalc.data.damage import naming, reason
from equicalc.data.databases import ase_database
from equicalc.data.frames import read_frames as frames_of
from equicalc.data.locking import locked
from equicalc.workers import Workers

from .crystal import MolecularCrystal
from .errors import CrystalError, UnreadableFileError
from .fragments import disordered_sites
from .lattice import Relax
from .methods import named_method

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["LabelledCrystal", "label_crystals", "read_frames"]

OK = "ok"
FAILED = "failed"
SAME = 1e-9  # Angstrom


@dataclass(frozen=True)
class LabelledCrystal:
    """A row of the database.

    Attributes
    ----------
    name
        File, and frame if it has several.
    status
        ``"ok"``, the code of a `CrystalError`, or ``"failed"``.
    message
        Why there is no energy, or warnings about it.
    values
        Energies (kJ/mol per molecule) and what describes the crystal; empty if failed.
    """

    name: str
    status: str
    message: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def label_crystals(
    files: Sequence[str | Path],
    database: str | Path,
    method: str = "gfn2-2b",
    relax: Relax = "molecule",
    workers: int = 1,
    report: Callable[[int, int, LabelledCrystal | None], None] | None = None,
    scheduler: str | None = None,
) -> list[LabelledCrystal]:
    """Calculate lattice energies of crystals in files.

    Every crystal is written as soon as it is done. The same call after an interruption,
    even ``kill -9``, does what is missing; a crystal whose file holds another structure
    by now, or that is to be treated in another way, is done again and replaced. What
    goes wrong with a crystal stands in its row, and the others go on.

    Parameters
    ----------
    files
        In any format of ASE; all frames are taken. A file given twice counts once.
    database
        ASE database, ``.db``. Rows have the keys ``name``, ``method``, ``version``,
        ``relax``, ``status``, ``message`` and, where it went well, ``lattice_energy``,
        ``interaction``, ``strain`` (kJ/mol per molecule), ``spacegroup``, ``z``,
        ``z_prime``, ``density``, ``packing`` and ``contact``.
    method, relax
        As for `named_method`.
    workers
        Processes; 0 is one per processor core.
    report
        Called with the number of crystals done, of all, and the last one.
    scheduler
        Address of a Dask scheduler whose workers do the work instead, ``tcp://...``.

    Returns
    -------
    list of LabelledCrystal
        All crystals of the files, in their order.

    Raises
    ------
    ValueError
        If the method is unknown, the database cannot be written, another process labels
        into it, or no scheduler answers.
    ImportError
        If the method needs what is not installed.
    """
    version = named_method(method, relax).version
    Path(database).absolute().parent.mkdir(parents=True, exist_ok=True)
    frames = list({frame[0]: frame for frame in read_frames(files)}.values())
    with locked(database):
        with naming(database, "is no database; give a name that ends in .db"):
            with_database = ase_database(database)
            rows = {row.name: row for row in with_database.select(method=method)}
        asked = {"version": version, "relax": str(relax).lower()}
        done = {
            name: _from_row(rows[name])
            for name, atoms, _ in frames
            if name in rows and _answers(rows[name], atoms, asked)
        }
        todo = [frame for frame in frames if frame[0] not in done]
        total, structures = len(frames), {name: atoms for name, atoms, _ in todo}
        if report is not None:
            report(total - len(todo), total, None)
        label = partial(_label, method=method, relax=relax)
        for labelled in _work(todo, label, workers, scheduler):
            done[labelled.name] = labelled
            with_database.write(
                structures[labelled.name],
                id=rows[labelled.name].id if labelled.name in rows else None,
                name=labelled.name,
                method=method,
                **asked,
                status=labelled.status,
                message=labelled.message or "none",
                **labelled.values,
            )
            if report is not None:
                finished = sum(name in done for name, _, _ in frames)
                report(finished, total, labelled)
    return [done[name] for name, _, _ in frames]


Frame = tuple[str, "Atoms", "LabelledCrystal | None"]


def read_frames(files: Sequence[str | Path]) -> Iterator[Frame]:
    """Name and structure of each frame; of a file that cannot be read its failure.

    A name may end in the index of a frame or a slice, ``x.extxyz@-1``.
    """
    from ase import Atoms
    from ase.utils import string2index

    for file in files:
        path, index = _path_and_index(str(file))
        try:
            frames = list(frames_of(path))
            if not frames:
                raise ValueError("no structures")
            chosen = range(len(frames))
            if index:
                try:
                    some = chosen[cast("slice", string2index(index))]
                except IndexError:
                    raise ValueError(
                        f"there is no frame {index}, of {len(frames)}"
                    ) from None
                chosen = [some] if isinstance(some, int) else some
        except Exception as error:  # every format has its own
            message = f"cannot read {file}: {reason(error)}"
            failed = LabelledCrystal(str(file), UnreadableFileError.code, message)
            yield str(file), Atoms(), failed
            continue
        for number in chosen:
            name = path if len(frames) == 1 else f"{path}@{number}"
            yield name, frames[number], None


def _path_and_index(text: str) -> tuple[str, str]:
    """Split ``file@index``; no index if there is a file of the whole name."""
    path, _, index = text.rpartition("@")
    if path and re.fullmatch(r"[-\d:]+", index) and not Path(text).exists():
        return path, index
    return text, ""


def _work(
    frames: Sequence[Frame],
    label: Callable[[tuple[str, Atoms]], LabelledCrystal],
    workers: int,
    scheduler: str | None,
) -> Iterator[LabelledCrystal]:
    """Label frames, in the order in which they are done."""
    yield from (failed for _, _, failed in frames if failed is not None)
    readable = [(name, atoms) for name, atoms, failed in frames if failed is None]
    with Workers(workers if len(readable) > 1 else 1, scheduler) as team:
        yield from team.map(label, readable)


def _label(frame: tuple[str, Atoms], method: str, relax: Relax) -> LabelledCrystal:
    """Label one structure; whatever goes wrong ends up in its row."""
    name, atoms = frame
    try:
        crystal = MolecularCrystal.from_atoms(atoms)
        result = named_method(method, relax).evaluate(crystal, None)
        values = {
            "lattice_energy": result.energy,
            "interaction": result.interaction,
            "strain": result.strain,
            "spacegroup": crystal.spacegroup,
            "z": crystal.z,
            "z_prime": crystal.z_prime,
            "density": crystal.density,
            "packing": crystal.packing,
            "contact": crystal.contact,
        }
    except CrystalError as error:
        return LabelledCrystal(name, error.code, str(error))
    except Exception as error:  # a calculator raises whatever it likes
        return LabelledCrystal(name, FAILED, f"{type(error).__name__}: {error}")
    return LabelledCrystal(name, OK, "; ".join(result.warnings), values)


def _answers(row: Any, atoms: Atoms, asked: dict[str, str]) -> bool:
    """Whether a row is of this very structure, treated in the same way."""
    before = row.toatoms()
    return (
        all(row.get(key) == value for key, value in asked.items())
        and not disordered_sites(atoms)  # which rows do not keep
        and np.array_equal(before.numbers, atoms.numbers)
        and np.array_equal(before.pbc, atoms.pbc)
        and np.allclose(before.cell.array, atoms.cell.array, rtol=0, atol=SAME)
        and np.allclose(before.positions, atoms.positions, rtol=0, atol=SAME)
    )


def _from_row(row: Any) -> LabelledCrystal:
    """Crystal of an earlier call."""
    stored = dict(row.key_value_pairs)
    name, status, message = (stored.pop(key) for key in ("name", "status", "message"))
    for key in ("method", "version", "relax"):
        del stored[key]
    return LabelledCrystal(name, status, "" if message == "none" else message, stored)
