"""QM9 from the server, the published archive or arrays, to packed data sets."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from equicalc.data.download import fetch
from equicalc.data.packed import PackedDataset
from equicalc.data.qm9 import read_qm9, read_uncharacterized
from equicalc.data.qm9_split import SPLITS, pack_split
from equicalc.data.readers import read_records

__all__ = ["prepare_qm9"]

log = logging.getLogger(__name__)


def prepare_qm9(
    folder: str | Path,
    source: str | Path | None = None,
    exclude: str | Path | None = None,
    split: str = "edm",
    formula: str | None = None,
) -> list[Path]:
    """Make the packed parts of QM9, or find them made.

    1. Without a source, download the archive and the list of uncharacterised
       molecules; what came so far is kept.
    2. Read the molecules that are not excluded, or of these the isomers of a formula.
    3. Write the parts that are not there yet.

    Parameters
    ----------
    folder
        Where everything goes; ``raw`` in it is for downloads.
    source
        The published archive, a folder of its files, or ``.npz`` arrays; downloaded
        if omitted.
    exclude
        The published list of molecules to leave out; with the archive that is
        downloaded it is downloaded too.
    split
        One of `equicalc.data.qm9_split.SPLITS`.
    formula
        Only molecules of this one, such as ``"C7H10O2"``, of which QM9 has the most.

    Returns
    -------
    list of Path
        The packed data sets.

    Raises
    ------
    ValueError
        If the source is damaged, the folder holds another split or source, or there is
        no molecule of the formula.
    ConnectionError
        If the server cannot be reached.
    """
    folder = Path(folder)
    origin = "QM9" if source is None else str(source)
    if formula is not None:
        origin = f"{formula} of {origin}"
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose from {', '.join(SPLITS)}")
    if done := _finished(folder, split, origin):
        return done
    if source is None:
        source = fetch("qm9", folder / "raw")
        exclude = exclude or fetch("qm9-uncharacterized", folder / "raw")
    records = _records(Path(source), exclude)
    if formula is not None:
        records = isomers(records, formula)
    return pack_split(records, folder, split, origin)


def isomers(records: Iterable[dict[str, Any]], formula: str) -> list[dict[str, Any]]:
    """Return the molecules of a formula.

    Raises
    ------
    ValueError
        If it is no formula, or there is none of it.

    Examples
    --------
    >>> water, methane = {"z": [8, 1, 1]}, {"z": [6, 1, 1, 1, 1]}
    >>> isomers([methane, water], "H2O")
    [{'z': [8, 1, 1]}]
    """
    from ase.formula import Formula
    from ase.symbols import symbols2numbers

    try:
        wanted = sorted(symbols2numbers(list(Formula(formula))))
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{formula!r} is no formula ({error}); give one such as C7H10O2"
        ) from error
    found = [record for record in records if sorted(record["z"]) == wanted]
    if not found:
        raise ValueError(f"there is no molecule of the formula {formula}")
    return found


def _records(source: Path, exclude: str | Path | None) -> Iterator[dict[str, Any]]:
    if exclude is None:
        return read_records(source)
    if source.suffix == ".npz":
        raise ValueError(
            f"a list of molecules to exclude goes with the archive of QM9, not with "
            f"{source}: leave it out"
        )
    chosen = read_qm9(source, read_uncharacterized(exclude))
    return (molecule.record() for molecule in chosen)


def _finished(folder: Path, split: str, origin: str) -> list[Path]:
    """Return the parts in a folder if they are complete, checking what they are."""
    parts = [meta.parent for meta in sorted(folder.glob("*/meta.json"))]
    for part in parts:
        meta = PackedDataset(part).meta
        found = meta.get("split"), meta.get("source")
        if found != (split, origin):
            raise ValueError(
                f"{part} holds the split {found[0]!r} of {found[1]!r}, not "
                f"{split!r} of {origin!r}: choose another folder or remove it"
            )
    names = {"all"} if split == "none" else {"train", "valid", "test"}
    if names <= {part.name for part in parts}:
        log.info("%s is complete", folder)
        return parts
    return []
