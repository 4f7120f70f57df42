"""Frames of a file of structures, by any of ASE's readers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from equicalc.data.sdf import read_sdf
from equicalc.data.text_files import check_text

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["read_frames"]


def read_frames(path: str | Path, index: int | str = ":") -> Iterator[Atoms]:
    """Read frames of a file one at a time, as they are asked for.

    ASE takes what follows an ``@`` in a name for an index; here it is part of the name.

    Parameters
    ----------
    path
        A file of any format that ASE reads; of an SDF file every molecule is read.
    index
        Place of a frame, or a slice in Python's notation; all by default.

    Yields
    ------
    Atoms
        With the labels that the file gives them; nothing if the index selects nothing.

    Raises
    ------
    Exception
        Parsers have their own, see `equicalc.data.damage`.

    Examples
    --------
    >>> import tempfile
    >>> from ase.build import molecule
    >>> file = Path(tempfile.mkdtemp()) / "water@2.xyz"
    >>> molecule("H2O").write(file, format="extxyz")
    >>> [str(atoms.symbols) for atoms in read_frames(file)]
    ['OH2']
    """
    from ase.io import iread
    from ase.utils import string2index

    check_text(path)
    chosen = (
        cast("int | slice", string2index(index)) if isinstance(index, str) else index
    )
    if not isinstance(chosen, slice):
        chosen = slice(chosen, chosen + 1 or None)
    if Path(path).suffix.lower() == ".sdf":
        yield from read_sdf(path) if index == ":" else list(read_sdf(path))[chosen]
    else:
        yield from iread(str(path), chosen, do_not_split_by_at_sign=True)
