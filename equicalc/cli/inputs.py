"""Structures and calculators as a user names them on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

import typer

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator

_T = TypeVar("_T")

INDEX = re.compile(r"-?\d+|(-?\d+)?(:(-?\d+)?){1,2}")
"""Place of a structure in a file, or a slice."""

_made: list[Path] = []  # by this process

Structures = Annotated[
    list[str],
    typer.Argument(
        help="Files in any ASE format, SMILES, or files of SMILES.",
        show_default=False,
        metavar="STRUCTURE...",
    ),
]
Model = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        help="A shipped potential (see [cyan]equicalc models[/cyan]) or the file of "
        "a checkpoint. Repeated: the mean of several.",
        show_default="the shipped default",
    ),
]
Calculator = Annotated[
    str | None,
    typer.Option(
        "--calculator",
        "-c",
        help="Another ASE calculator: gfn2, emt, lj or package.module:Class.",
        show_default=False,
    ),
]
Device = Annotated[
    str, typer.Option(help="Where the network runs: auto, cpu, cuda, cuda:1.")
]
Seed = Annotated[int, typer.Option(help="Seed of everything that is random.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the results.", metavar="DIR")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with what an earlier call left there.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help="Dask scheduler whose workers do the work, tcp://host:8786.",
        show_default=False,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what an earlier call left there.")
]


@dataclass
class Named:
    """A structure, made when it is first asked for, and the name that its files get."""

    name: str
    make: Callable[[], Atoms]

    @cached_property
    def atoms(self) -> Atoms:
        """The structure; a ValueError if a SMILES gives none, or a frame is empty."""
        return self.make()


def read_structures(given: Iterable[str], seed: int = 0) -> list[Named]:
    """Read what a user named: files, frames of files (``file@index``) and SMILES.

    Names differ by more than capitals, for file systems that ignore these. What a line
    of a file of SMILES is worth is seen when its structure is asked for.

    Raises
    ------
    ValueError
        If one of them is neither a file that can be read nor a SMILES.
    """
    found: list[Named] = []
    used: set[str] = set()
    for text in given:
        for stem, make in _read(text, seed):
            name, n = stem, 1
            while name.casefold() in used:
                n += 1
                name = f"{stem}-{n}"
            used.add(name.casefold())
            found.append(Named(name, make))
    return found


def build_calculator(
    model: list[str] | None, calculator: str | None, device: str
) -> BaseCalculator:
    """Build the calculator that ``--model`` or ``--calculator`` names.

    Raises
    ------
    ValueError
        If both are given.
    """
    if model and calculator:
        raise ValueError("give --model or --calculator, not both")
    if calculator and calculator != "equicalc":
        from equicalc.calculators.named import named_calculator

        return named_calculator(calculator)
    from equicalc.calculators import EquiCalculator

    chosen = model[0] if model and len(model) == 1 else model or None
    return EquiCalculator(chosen, device=device)


def is_file(text: str) -> bool:
    """Whether a text names a file; a folder may be called CO, and be no structure.

    Examples
    --------
    >>> is_file("C" * 300)  # too long for a name
    False
    """
    try:
        return Path(text).is_file()
    except OSError:
        return False


def require_smiles(text: str) -> None:
    """Refuse a text that is no SMILES, and no file either.

    Raises
    ------
    ValueError
        If it cannot be parsed.
    """
    from equicalc.data.smiles import canonical

    try:
        canonical(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is neither a file that exists nor a valid SMILES"
        ) from error


def output_folder(path: Path) -> Path:
    """Make the folder for the results, and make sure that it can be written.

    `remove_empty_folders` takes it away again if nothing has been written.

    Raises
    ------
    ValueError
        If it cannot.
    """
    import tempfile

    new = [one.absolute() for one in (path, *path.parents) if not one.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        _made.extend(new)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ValueError(
            f"cannot write to the folder {path} ({error.strerror}); give another one "
            "with --output"
        ) from error


def remove_empty_folders() -> None:
    """Remove those folders that `output_folder` made and that are still empty."""
    for folder in sorted(_made, key=lambda path: -len(path.parts)):
        with suppress(OSError):  # it is not empty
            folder.rmdir()
    _made.clear()


def require_writable_format(path: Path) -> None:
    """Refuse a file whose suffix names no format that ASE writes.

    Raises
    ------
    ValueError
        If there is no such format.
    """
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        format_name = filetype(str(path), read=False)
    except UnknownFileTypeError:
        format_name = ""
    if format_name not in ioformats or not ioformats[format_name].can_write:
        raise ValueError(f"{path}: ASE writes no such format; .extxyz and .cif do well")


def require_suffix(path: Path, *suffixes: str) -> None:
    """Refuse a file whose suffix stands for another format than is written.

    Raises
    ------
    ValueError
        If it has none of the suffixes.
    """
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: give a file that ends in {' or '.join(suffixes)}")


def refuse_inputs(given: Iterable[str], paths: Iterable[Path]) -> None:
    """Refuse to write over a file that is read.

    Raises
    ------
    ValueError
        If a file is both.
    """
    read = {path.resolve() for path, _ in map(_path_and_index, given) if path}
    for path in paths:
        if path.resolve() in read:
            raise ValueError(
                f"{path} is read and would be written; give another --output"
            )


def refuse_existing(
    paths: Iterable[Path], resume: bool | None, overwrite: bool
) -> None:
    """Keep the results of an earlier call unless told otherwise.

    Parameters
    ----------
    paths
        What would be written.
    resume, overwrite
        What was asked for; `resume` is None for a command that cannot go on.

    Raises
    ------
    ValueError
        If a file exists.
    """
    if resume and overwrite:
        raise ValueError("give --resume or --overwrite, not both")
    existing = [path for path in paths if path.exists()]
    if existing and not (resume or overwrite):
        way_on = "" if resume is None else "--resume goes on with it, "
        raise ValueError(f"{existing[0]} exists: {way_on}--overwrite replaces it")


def _read(text: str, seed: int) -> Iterator[tuple[str, Callable[[], Atoms]]]:
    from equicalc.data.smiles import atoms_from_smiles, is_smiles_file, numbered_smiles

    path, index = _path_and_index(text)
    if path is None:
        require_smiles(text)
        yield _name(text), partial(atoms_from_smiles, text, seed)
    elif is_smiles_file(path):
        for line, smiles in _selected(path, numbered_smiles(path), index):
            yield _name(smiles), partial(_from_line, f"{path}:{line}", smiles, seed)
    else:
        yield from _frames(path, index)


def _from_line(where: str, smiles: str, seed: int) -> Atoms:
    from equicalc.data.smiles import atoms_from_smiles

    try:
        return atoms_from_smiles(smiles, seed)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _path_and_index(text: str) -> tuple[Path | None, str]:
    """Split ``file@index``; no path if there is no such file."""
    if is_file(text):
        return Path(text), ":"
    before, _, index = text.rpartition("@")
    if before and is_file(before) and INDEX.fullmatch(index):
        return Path(before), index
    return None, ""


def _frames(path: Path, index: str) -> Iterator[tuple[str, Callable[[], Atoms]]]:
    from equicalc.data.damage import reason
    from equicalc.data.frames import read_frames

    try:
        frames = list(read_frames(path, index))
    except Exception as error:  # every format has its own
        if isinstance(error, IndexError) and index != ":":
            raise _selects_nothing(path, index) from error
        raise ValueError(
            f"cannot read a structure from {path}: {reason(error)}"
        ) from error
    if not frames and index != ":":
        raise _selects_nothing(path, index)
    if not any(len(frame) for frame in frames):
        raise ValueError(f"{path} holds no atoms")
    for number, frame in enumerate(frames):
        name = path.stem if len(frames) == 1 else f"{path.stem}-{number}"
        yield name, partial(_with_atoms, f"{path}, structure {number}", frame)


def _selected(path: Path, items: list[_T], index: str) -> list[_T]:
    """Return those structures of a file that an index or a slice selects."""
    from ase.utils import string2index

    try:
        chosen = cast("int | slice", string2index(index))
        selected = items[chosen] if isinstance(chosen, slice) else [items[chosen]]
    except (ValueError, IndexError):
        selected = []
    if not selected:
        raise _selects_nothing(path, index)
    return selected


def _selects_nothing(path: Path, index: str) -> ValueError:
    return ValueError(
        f"{path}: the index {index} selects nothing; structures are counted from 0"
    )


def _with_atoms(where: str, frame: Atoms) -> Atoms:
    if len(frame) == 0:
        raise ValueError(f"{where}: it has no atoms")
    return frame


def _name(smiles: str) -> str:
    """Name for files: the letters and digits of a SMILES."""
    return re.sub(r"[^A-Za-z0-9]+", "_", smiles).strip("_")[:60] or "molecule"
