"""The database of a run: every structure, what became of it, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equicalc.data.damage import naming
from equicalc.data.databases import ase_database

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Record", "RunDatabase"]

ALIVE = "alive"
REJECTED = "rejected"
EXPANDED = "expanded"


@dataclass(frozen=True)
class Record:
    """A structure of a run.

    Attributes
    ----------
    key
        Its name in the run: round and number, then what it was expanded to.
    atoms
        As it is after the last step; ``info`` holds all properties and scores.
    round
        In which it was proposed.
    seed
        That it was made with.
    parents
        Keys of the structures that it was made from.
    born, stage
        First and next stage of the steps that concern it.
    status
        ``"alive"``, ``"rejected"``, or ``"expanded"`` to conformers or crystals.
    step, reason
        The last step, and why it rejected the structure.
    """

    key: str
    atoms: Atoms
    round: int
    seed: int
    parents: tuple[str, ...] = ()
    born: int = 0
    stage: int = 0
    status: str = ALIVE
    step: str = "propose"
    reason: str = ""

    def rejected(self, step: str, reason: str) -> Record:
        """Return the record of a structure that goes no further."""
        return replace(self, status=REJECTED, step=step, reason=reason)


class RunDatabase:
    """Records of a run in an ASE database.

    Rows have the record's key as ``unique_id``, which the database keeps unique: to
    write a record again replaces it. Numbers in ``info`` become keys that can be
    selected, such as ``ase db run.db 'score>3'``; everything in ``info`` is under
    ``data``. Only one process writes, each call in one transaction.

    Parameters
    ----------
    where
        File ending in ``.db`` (SQLite), or the URL of an empty PostgreSQL database,
        ``postgresql://user:password@host/name``.

    Raises
    ------
    ImportError
        If PostgreSQL is asked for and ase-db-backends is missing.
    ValueError
        If the file has another suffix.

    Examples
    --------
    >>> import tempfile
    >>> from ase.build import molecule
    >>> database = RunDatabase(Path(tempfile.mkdtemp()) / "run.db")
    >>> database.write([Record("000-000000", molecule("H2O"), round=0, seed=1)])
    >>> [(one.key, str(one.atoms.symbols)) for one in database.records()]
    [('000-000000', 'OH2')]
    """

    def __init__(self, where: str | Path) -> None:
        from ase.db import connect

        self.where = str(where)
        url = self.where.startswith(("postgresql://", "postgres://"))
        if not url and Path(where).suffix != ".db":
            raise ValueError(f"{where}: give a file ending in .db, or postgresql://...")
        try:
            self._rows: Any = connect(self.where) if url else ase_database(where)
        except ModuleNotFoundError as error:
            raise ImportError(
                'PostgreSQL needs ase-db-backends: pip install "equicalc[design]"'
            ) from error

    @property
    def settings(self) -> dict[str, Any]:
        """What the run was started with; empty if it was not."""
        with naming(self.where, "is no database of a design, or is damaged"):
            return dict(self._rows.metadata)

    @settings.setter
    def settings(self, values: dict[str, Any]) -> None:
        self._rows.metadata = self._rows.metadata | values  # opens it by reading

    def write(self, records: Iterable[Record]) -> None:
        """Add records, or replace those with the same keys; all of them or none."""
        with self._rows as rows:
            for record in records:
                found = list(rows.select(unique_id=record.key, include_data=False))
                row = _row_of(record)
                rows.write(
                    row,
                    key_value_pairs=row.key_value_pairs,
                    data=row.data,
                    id=found[0].id if found else None,
                )

    def records(self, **selection: Any) -> list[Record]:
        """Return records by key, all or those with given values.

        Parameters
        ----------
        selection
            Such as ``round=2`` or ``status="alive"``.
        """
        return sorted(self.stream(**selection), key=lambda record: record.key)

    def stream(self, **selection: Any) -> Iterator[Record]:
        """Yield records in no particular order; see `records`."""
        with naming(self.where, "is no database of a design, or is damaged"):
            for row in self._rows.select(**selection):
                yield _record_of(row)

    def keys(self, **selection: Any) -> set[str]:
        """Return the keys of records; see `records`."""
        rows = self._rows.select(include_data=False, **selection)
        return {row.unique_id for row in rows}

    def smiles_before(self, round: int) -> set[str]:
        """Return the SMILES of all structures of earlier rounds."""
        rows = self._rows.select(f"round<{round}", include_data=False)
        return {row.smiles for row in rows if "smiles" in row}

    def __len__(self) -> int:
        return self._rows.count()


def _row_of(record: Record) -> Any:
    """Build the row of a database."""
    from ase.db.core import now
    from ase.db.row import AtomsRow, atoms2dict

    info = {name: _plain(value) for name, value in record.atoms.info.items()}
    described = {"status": record.status, "step": record.step, "round": record.round}
    if record.reason:
        described["reason"] = record.reason
    row = atoms2dict(record.atoms) | {
        "unique_id": record.key,
        "ctime": now(),
        "user": None,
        "key_value_pairs": _selectable(info) | described,
        "data": {
            "info": info,
            "seed": record.seed,
            "parents": list(record.parents),
            "born": record.born,
            "stage": record.stage,
            "arrays": _own_arrays(record.atoms),
        },
    }
    return AtomsRow(row)


def _record_of(row: Any) -> Record:
    data = row.data
    atoms = row.toatoms()
    atoms.calc = None
    atoms.info = dict(data["info"])
    for name, values in data["arrays"].items():
        atoms.set_array(name, np.asarray(values))
    return Record(
        key=str(row.unique_id),
        atoms=atoms,
        round=row.round,
        seed=data["seed"],
        parents=tuple(data["parents"]),
        born=data["born"],
        stage=data["stage"],
        status=row.status,
        step=row.step,
        reason=row.get("reason", ""),
    )


def _plain(value: Any) -> Any:
    """Turn a number of numpy into one of Python, which ASE can write."""
    return value.item() if isinstance(value, np.generic) else value


def _selectable(info: dict[str, Any]) -> dict[str, Any]:
    """Entries of info that ASE can select by."""
    from ase.db.core import check

    found: dict[str, Any] = {}
    for name, value in info.items():
        if name[:1].islower():  # the others may be chemical symbols
            try:
                check({name: value})
            except ValueError:  # a name or value that ASE keeps for itself
                continue
            found[name] = value
    return found


def _own_arrays(atoms: Atoms) -> dict[str, np.ndarray]:
    """Arrays that ASE's databases have no column for."""
    usual = {"numbers", "positions", "initial_charges", "initial_magmoms", "tags"}
    usual |= {"momenta", "masses"}
    return {name: a for name, a in atoms.arrays.items() if name not in usual}
