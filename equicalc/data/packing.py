"""Write packed data sets, one structure at a time.

A set appears under its name only when it is complete, so an interrupted writer leaves
nothing that could be mistaken for a set.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equicalc.data.packed import FIELDS, FORMAT, VERSION, Field

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["pack", "write_packed"]


class _Column:
    """One ``.npy`` file that grows."""

    def __init__(self, file: Path, field: Field) -> None:
        self.field = field
        self._length = 0
        self._handle = file.open("wb")
        self._write_header()

    def _write_header(self) -> None:
        # numpy pads the header so that the first axis can grow without moving the data
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(self.field.dtype)),
            "fortran_order": False,
            "shape": (self._length, *self.field.shape),
        }
        np.lib.format.write_array_header_1_0(self._handle, header)

    def append(self, values: NDArray[Any]) -> None:
        self._handle.write(values.tobytes())
        self._length += len(values)

    def close(self) -> None:
        self._handle.seek(0)
        self._write_header()
        self._handle.close()


def write_packed(
    path: str | Path,
    records: Iterable[Mapping[str, ArrayLike]],
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write a packed data set, one structure at a time.

    Parameters
    ----------
    path
        New folder. It appears when everything is written.
    records
        One mapping for each structure, with ``z`` (n_atoms,), ``pos`` (n_atoms, 3)
        and any other of `FIELDS`, the same ones in every record.
    meta
        What to tell of the data: ``level_of_theory``, ``source``, ``licence``,
        ``command``, ``kinds``. Numbers, fields and units are filled in.

    Raises
    ------
    FileExistsError
        If there is something at the path already.
    ValueError
        If a record does not fit the others, or holds a number that is not finite.
        The message counts records from 0.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it or choose another")
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    columns: dict[str, _Column] = {}
    elements: set[int] = set()
    counts = np.zeros(2, dtype=np.int64)  # structures, atoms
    try:
        for number, record in enumerate(records):
            arrays = _checked_record(record, number)
            if not columns:
                columns = {
                    name: _Column(partial / f"{name}.npy", FIELDS[name])
                    for name in arrays
                }
            if arrays.keys() != columns.keys():
                raise ValueError(
                    f"record {number} has {sorted(arrays)}, but those before it have "
                    f"{sorted(columns)}: give all of them the same fields"
                )
            for name, values in arrays.items():
                columns[name].append(values)
            elements.update(arrays["z"].tolist())
            counts += 1, len(arrays["z"])
    finally:
        for column in columns.values():
            column.close()
    if not columns:
        raise ValueError("there is no structure to write")
    described = {
        "format": FORMAT,
        "version": VERSION,
        "n_structures": int(counts[0]),
        "n_atoms": int(counts[1]),
        "elements": sorted(elements),
        "fields": {name: np.dtype(FIELDS[name].dtype).name for name in columns},
        "units": {name: FIELDS[name].unit for name in columns if FIELDS[name].unit},
    }
    text = json.dumps(dict(meta or {}) | described, indent=1)
    (partial / "meta.json").write_text(text + "\n")
    partial.rename(path)


def _checked_record(
    record: Mapping[str, ArrayLike], number: int
) -> dict[str, NDArray[Any]]:
    """Return the arrays of one record as they are stored, in the order of FIELDS."""
    unknown = record.keys() - FIELDS.keys()
    if unknown or not {"z", "pos"} <= record.keys():
        raise ValueError(
            f"record {number} has the fields {sorted(record)}: z and pos are needed, "
            f"and of others only {', '.join(FIELDS)} are known"
        )
    n_atoms = np.asarray(record["z"]).size
    arrays = {}
    for name, field in FIELDS.items():
        if name != "n_atoms" and name not in record:
            continue
        values = np.asarray(record[name] if name != "n_atoms" else n_atoms)
        needed = (n_atoms if field.per_atom else 1, *field.shape)
        if values.size != np.prod(needed):
            raise ValueError(
                f"record {number} has {name} of shape {values.shape}; {needed} needed"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"record {number} has a {name} that is not finite")
        arrays[name] = values.astype(field.dtype).reshape(needed)
    if n_atoms == 0 or (np.asarray(record["z"]) < 1).any():
        raise ValueError(
            f"record {number} has atomic numbers {np.asarray(record['z']).tolist()}; "
            "at least one atom, each with a number of 1 or more, is needed"
        )
    return arrays


def pack(
    structures: "Iterable[Atoms]",
    path: str | Path,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write ASE atoms, with the labels that they carry, as a packed data set.

    Parameters
    ----------
    structures
        Each with the results of its calculator, all with the same labels. An integer
        ``atoms.info["group"]`` tells its molecule, ``atoms.info["kind"]`` its kind.
    path, meta
        As for `write_packed`.
    """
    from equicalc.data.atoms import atoms_to_record

    write_packed(path, map(atoms_to_record, structures), meta)
