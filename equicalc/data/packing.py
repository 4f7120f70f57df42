"""Write packed data sets, one structure at a time.

A set appears under its name only when it is complete, so an interrupted writer leaves
nothing that could be mistaken for a set.
"""

import json
import shutil
import tempfile
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


class _Columns:
    """The files of one set, all of the same number of structures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.columns: dict[str, _Column] = {}
        self.elements: set[int] = set()
        self.n_structures = 0
        self.n_atoms = 0

    def append(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Add one structure; all have the same fields, but for those that are zero.

        These are cell and pbc of a molecule, and the forces of an atom alone.
        """
        n_atoms = len(arrays["z"])
        for name in _zero_fields(n_atoms == 1):
            if name in self.columns and name not in arrays:
                arrays[name] = _zeros(FIELDS[name], 1)
        if self.columns:
            self._check_fields(arrays)
        for name, values in arrays.items():
            if name not in self.columns:
                field = FIELDS[name]
                before = self.n_atoms if field.per_atom else self.n_structures
                self.columns[name] = _Column(self.folder / f"{name}.npy", field)
                self.columns[name].append(_zeros(field, before))
            self.columns[name].append(values)
        self.elements.update(arrays["z"].tolist())
        self.n_structures += 1
        self.n_atoms += len(arrays["z"])

    def _check_fields(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Raise ValueError if a structure has other fields than those before it."""
        known = self.columns.keys()
        more = arrays.keys() - known - _zero_fields(self.n_atoms == self.n_structures)
        for names, has, have in (
            (more, "has", "lack"),
            (known - arrays.keys(), "lacks", "have"),
        ):
            if names:
                raise ValueError(
                    f"record {self.n_structures} {has} {', '.join(sorted(names))}, "
                    f"which those before it {have}: give all of them the same fields"
                )

    def close(self) -> None:
        for column in self.columns.values():
            column.close()

    def meta(self) -> dict[str, Any]:
        """Return what the files tell of themselves."""
        fields = {name: FIELDS[name] for name in FIELDS if name in self.columns}
        return {
            "format": FORMAT,
            "version": VERSION,
            "n_structures": self.n_structures,
            "n_atoms": self.n_atoms,
            "elements": sorted(self.elements),
            "fields": {name: np.dtype(f.dtype).name for name, f in fields.items()},
            "units": {name: f.unit for name, f in fields.items() if f.unit},
        }


def _zero_fields(alone: bool) -> set[str]:
    """Name the fields that a structure without them has as zeros."""
    return {"cell", "pbc", "forces"} if alone else {"cell", "pbc"}


def _zeros(field: Field, length: int) -> NDArray[Any]:
    return np.zeros((length, *field.shape), dtype=field.dtype)


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
        and any other of `equicalc.data.packed.FIELDS`: the same ones in every record,
        but for ``cell`` and ``pbc``, which a molecule may leave out, and ``forces``,
        which an atom alone may. Positions are moved before they are rounded: molecules
        to the origin, atoms of crystals into the cell.
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

    Examples
    --------
    >>> folder = Path(tempfile.mkdtemp()) / "set"
    >>> write_packed(folder, [{"z": [1], "pos": [[0, 0, 0]]}], {"source": "made up"})
    >>> sorted(file.name for file in folder.iterdir())
    ['meta.json', 'n_atoms.npy', 'pos.npy', 'z.npy']
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it or choose another")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        columns = _Columns(partial)
        try:
            for number, record in enumerate(records):
                columns.append(_checked_record(record, number))
        finally:
            columns.close()
        if not columns.n_structures:
            raise ValueError(f"there is no structure to write to {path}")
        text = json.dumps(dict(meta or {}) | columns.meta(), indent=1)
        (partial / "meta.json").write_text(text + "\n")
        partial.chmod(0o755)
        _publish(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, path: Path) -> None:
    try:
        partial.rename(path)
    except OSError as error:
        if path.exists():  # another process was faster
            raise FileExistsError(f"{path} was written by another process") from error
        raise


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
            raise ValueError(f"record {number} has {name} that is not finite")
        stored = values.astype(field.dtype)
        if np.issubdtype(field.dtype, np.integer) and (stored != values).any():
            raise ValueError(
                f"record {number} has {name} that {np.dtype(field.dtype).name} does "
                f"not hold: {values[stored != values].flat[0]}"
            )
        arrays[name] = stored.reshape(needed)
    if n_atoms == 0 or (np.asarray(record["z"]) < 1).any():
        raise ValueError(
            f"record {number} has atomic numbers {np.asarray(record['z']).tolist()}; "
            "at least one atom, each with a number of 1 or more, is needed"
        )
    arrays["pos"] = _near_origin(record).astype(np.float32)
    return arrays


def _near_origin(record: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
    """Return positions (n_atoms, 3) that are small, so that rounding costs little.

    1. Along lattice vectors that are periodic, atoms are wrapped into the cell.
    2. Across these, the centre goes to the origin.
    """
    pos = np.asarray(record["pos"], dtype=np.float64).reshape(-1, 3)
    periodic = np.asarray(record.get("pbc", np.zeros(3)), dtype=bool)
    cell = np.asarray(record.get("cell", np.zeros((3, 3))), dtype=np.float64)
    vectors = cell.reshape(3, 3)[periodic.reshape(3)]  # (n_periodic, 3)
    inverse = np.linalg.pinv(vectors)  # (3, n_periodic)
    # 1. along
    pos = pos - np.floor(pos @ inverse) @ vectors
    # 2. across
    centre = pos.mean(0)
    return pos - (centre - centre @ inverse @ vectors)


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
