"""Crystals as files give them, for the commands that take many."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from equicalc.crystals import MolecularCrystal
    from equicalc.crystals.labels import Frame
    from equicalc.crystals.predictor import Row

DIGITS = 6  # of Angstrom that count where structures are compared


def read(files: list[str]) -> list[Frame]:
    """Read the frames of files, each once."""
    from equicalc.crystals.labels import read_frames

    return list({frame[0]: frame for frame in read_frames(files)}.values())


def crystal(frame: Frame) -> MolecularCrystal | Row:
    """Return the crystal of a frame, or a row with the reason why there is none."""
    from equicalc.crystals import CrystalError, MolecularCrystal

    name, atoms, failed = frame
    row: Row = {"file": name}
    if failed is not None:
        return row | {"status": failed.status, "message": failed.message}
    try:
        return MolecularCrystal.from_atoms(atoms)
    except CrystalError as error:
        return row | {"status": error.code, "message": str(error)}
    except Exception as error:  # whatever a strange structure brings about
        reason = f"{type(error).__name__}: {error}"
        return row | {"status": "failed", "message": reason}


def key(frame: Frame, *settings: object) -> str:
    """Return a hash of a structure and of what is done with it."""
    import numpy as np

    from equicalc.crystals.fragments import disordered_sites

    _, atoms, _ = frame
    places = np.concatenate([atoms.cell.array, atoms.positions])
    digest = sha256(repr((atoms.pbc.tolist(), settings)).encode())
    digest.update(atoms.numbers.tobytes())
    digest.update((places.round(DIGITS) + 0.0).tobytes())  # no -0.0
    digest.update("".join(disordered_sites(atoms)).encode())
    return digest.hexdigest()[:12]


def described(model: str, fmax: float, fixed_cell: bool) -> str:
    """Say how crystals are relaxed.

    Examples
    --------
    >>> described("a3f2", 0.05, fixed_cell=False)
    'model a3f2, fmax 0.05, cell free'
    """
    return f"model {model}, fmax {fmax:g}, cell {'fixed' if fixed_cell else 'free'}"


def refuse_other_settings(table: Path, rows: Iterable[Row], settings: str) -> None:
    """Refuse to go on with a table whose crystals were relaxed in another way.

    Raises
    ------
    ValueError
        If one of its rows says so.
    """
    for row in rows:
        earlier = row.get("settings") or settings
        if earlier != settings:
            raise ValueError(
                f"{table} cannot be resumed: its crystals were relaxed with {earlier}, "
                f"this call has {settings}; give the same model and options, another "
                "--output, or --overwrite"
            )
