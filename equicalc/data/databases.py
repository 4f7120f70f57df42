"""ASE databases that outlive killed runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equicalc.data.damage import naming

__all__ = ["ase_database"]


def ase_database(path: str | Path) -> Any:
    """Open an ASE database to write to it.

    ASE makes the tables of a new file one by one, so that a run killed meanwhile leaves
    a file that nothing opens, and its lock file outlives the run and stops all later
    ones. Here a new file is there with all tables or not at all, and there is no lock
    file: whoever may have rivals holds `equicalc.data.locking.locked`.

    Parameters
    ----------
    path
        File ending in ``.db``; its folder is made if need be.

    Returns
    -------
    ase.db.core.Database

    Raises
    ------
    ValueError
        If the file cannot be made, or has another suffix.

    Examples
    --------
    >>> import tempfile
    >>> from ase.build import molecule
    >>> path = Path(tempfile.mkdtemp()) / "molecules.db"
    >>> database = ase_database(path)
    >>> database.write(molecule("H2O"), name="water")
    1
    >>> [row.name for row in ase_database(path).select()]
    ['water']
    """
    from ase.db import connect

    path = Path(path)
    if not path.exists() and path.suffix == ".db":
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".new-{path.name}")
        draft.unlink(missing_ok=True)
        with naming(path, "cannot be made"):
            connect(draft, use_lock_file=False).count()  # makes the tables
        draft.replace(path)
    return connect(path, use_lock_file=False)
