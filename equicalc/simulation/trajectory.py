"""Trajectories that are written as they grow and survive being killed.

A run has two files: the trajectory, and beside it ``<trajectory>.restart.npz``, which
is replaced (never rewritten in place) after a frame is complete. The restart file says
how far the trajectory is good, so that resuming drops whatever a kill left half
written and goes on from there. Files that do not fit each other are refused: nothing
of an earlier run is touched.
"""

from __future__ import annotations

import io
import json
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from equicalc.data.arrays import load_arrays, read_npz
from equicalc.data.damage import naming
from equicalc.data.locking import locked
from equicalc.simulation.files import open_text, too_short

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

PLACES = ("cell", "positions", "momenta")
START = ("start_cell", "start_positions")
SAME = 1e-3  # Angstrom, to which a start can be computed once more
BROKEN = "is no restart file: delete it and start a new run"


class TrajectoryFile(Protocol):
    """A file that takes one structure after the other."""

    def write(self, atoms: Atoms) -> None:
        """Append a structure; it is on disk when this returns."""
        ...

    def mark(self) -> int:
        """How far the file is good: what to pass as `keep` to go on from here."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def open_trajectory(path: Path, keep: int = 0) -> TrajectoryFile:
    """Open a trajectory for writing; the format follows the suffix.

    Parameters
    ----------
    path
        ``.extxyz`` or ``.xyz`` for extended XYZ, ``.traj`` for ASE's binary format.
    keep
        Mark up to which an existing file is kept; 0 starts a new file.

    Raises
    ------
    ValueError
        If the suffix is none of these.
    """
    kinds = {".extxyz": TextFile, ".xyz": TextFile, ".traj": BinaryFile}
    if path.suffix not in kinds:
        raise ValueError(
            f"cannot write a trajectory to {path}; its name must end with "
            f"{', '.join(kinds)}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return kinds[path.suffix](path, keep)


class TextFile:
    """Extended XYZ, one flushed write for each frame; the mark is a size in bytes."""

    def __init__(self, path: Path, keep: int = 0) -> None:
        self._file = open_text(path, keep)

    def write(self, atoms: Atoms) -> None:
        """Append a structure."""
        from ase.io.extxyz import write_extxyz

        frame = io.StringIO()
        write_extxyz(frame, atoms)
        self._file.write(frame.getvalue())
        self._file.flush()

    def mark(self) -> int:
        """Size in bytes."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class BinaryFile:
    """ASE's ``.traj``, whose header counts complete frames only; the mark is theirs."""

    def __init__(self, path: Path, keep: int = 0) -> None:
        from ase.io.trajectory import TrajectoryWriter

        if keep:
            _shorten(path, keep)
        self._file = TrajectoryWriter(path, "a" if keep else "w")
        self._frames = keep

    def write(self, atoms: Atoms) -> None:
        """Append a structure."""
        self._file.write(atoms)
        self._frames += 1

    def mark(self) -> int:
        """Count of frames."""
        return self._frames

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _shorten(path: Path, n_frames: int) -> None:
    """Drop the frames after the first `n_frames`, through a copy.

    Raises
    ------
    ValueError
        If there are fewer, or the file cannot be read.
    """
    from ase.io.trajectory import TrajectoryReader, TrajectoryWriter

    try:
        frames = TrajectoryReader(path)
    except (OSError, ValueError) as error:  # InvalidULMFileError is an OSError
        raise ValueError(too_short(path, str(error))) from error
    with frames:
        if len(frames) < n_frames:
            raise ValueError(too_short(path, f"{len(frames)} of {n_frames} frames"))
        if len(frames) == n_frames:
            return
        copy = path.with_name(f"{path.stem}.part.traj")
        with TrajectoryWriter(copy, "w") as kept:
            for index in range(n_frames):
                kept.write(frames[index])
    copy.replace(path)


class Recording:
    """A trajectory and its restart file, kept in step with each other.

    Parameters
    ----------
    path
        The trajectory; None records nothing.
    atoms
        Where the run starts, with its calculator; moved to the last recorded step when
        there is one to resume. Both must be those of the run that is resumed.
    settings
        What must be the same as well.
    resume
        Go on with the files, if they exist. Otherwise they are written anew.

    Attributes
    ----------
    step
        Step to go on from; 0 for a new run.
    state
        Arrays saved with that step; empty for a new run.

    Raises
    ------
    ValueError
        If there is something to resume that cannot be resumed, or another process
        records there.
    """

    def __init__(
        self, path: Path | None, atoms: Atoms, settings: dict[str, Any], resume: bool
    ) -> None:
        self.path = path
        self.state: dict[str, np.ndarray] = {}
        self._file: TrajectoryFile | None = None
        self._held = ExitStack()
        if path is None:
            return
        self.settings = settings | {"calculator": _name(atoms.calc)}
        self._identity = _identity(atoms)
        self._restart = path.with_name(path.name + ".restart.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            held.enter_context(locked(path))
            self._open(path, atoms, resume)
            self._held = held.pop_all()

    def _open(self, path: Path, atoms: Atoms, resume: bool) -> None:
        """Open the files where they are to be gone on with."""
        if resume and self._restart.exists():
            self.state = _load_restart(
                self._restart, atoms, self._identity, self.settings
            )
            logger.info("resuming %s at step %d", path, self.step)
        elif resume and path.exists() and path.stat().st_size:
            raise ValueError(
                f"{path} cannot be resumed: its restart file {self._restart.name} is "
                "missing; bring it back, or start a new run"
            )
        else:
            self._restart.unlink(missing_ok=True)
        self._file = open_trajectory(path, int(self.state.get("mark", 0)))

    @property
    def step(self) -> int:
        """Step to go on from."""
        return int(self.state.get("step", 0))

    @property
    def is_new(self) -> bool:
        """Whether the run starts rather than resumes."""
        return not self.state

    def write(self, atoms: Atoms, step: int, **state: Any) -> None:
        """Append a frame, then let the restart file say so."""
        if self._file is None:
            return
        self._file.write(atoms)
        state |= {"step": step, "mark": self._file.mark()}
        _save_restart(self._restart, atoms, self._identity, self.settings, state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._held:
            if self._file is not None:
                self._file.close()


def freeze(atoms: Atoms) -> Atoms:
    """Copy a structure together with what its calculator has found for it."""
    from ase.calculators.calculator import all_properties
    from ase.calculators.singlepoint import SinglePointCalculator

    copy = atoms.copy()
    found = getattr(atoms.calc, "results", {})
    kept = {name: found[name] for name in all_properties if name in found}
    copy.calc = SinglePointCalculator(copy, **kept)
    return copy


def _save_restart(
    path: Path,
    atoms: Atoms,
    identity: dict[str, np.ndarray],
    settings: dict[str, Any],
    state: dict[str, Any],
) -> None:
    """Replace a restart file: all of it or nothing, whenever the process dies."""
    arrays = {
        **identity,
        "positions": atoms.positions,
        "momenta": atoms.get_momenta(),
        "cell": atoms.cell.array,
        "settings": np.array(json.dumps(settings)),
        **state,
    }
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.replace(path)


def _identity(atoms: Atoms) -> dict[str, np.ndarray]:
    """Return what tells a run from others; old restart files have a part of it."""
    from ase.io.jsonio import encode

    constraints = [
        constraint.todict() if hasattr(constraint, "todict") else repr(type(constraint))
        for constraint in atoms.constraints
    ]
    return {
        "numbers": atoms.numbers,
        "pbc": atoms.pbc,
        "masses": atoms.get_masses(),
        "constraints": np.array(encode(constraints)),
        "start_cell": atoms.cell.array.copy(),
        "start_positions": atoms.positions.copy(),
    }


def _name(calculator: Any) -> str:
    """Name a calculator, with its method or a hash of its weights if it has one."""
    parameters = getattr(calculator, "parameters", None) or {}
    detail = getattr(calculator, "digest", None) or parameters.get("method")
    return f"{type(calculator).__name__} {detail or ''}".strip()


def _differ(name: str, before: np.ndarray, now: np.ndarray) -> bool:
    if name not in START or before.shape != now.shape:
        return not np.array_equal(before, now)
    return not np.allclose(before, now, rtol=0, atol=SAME)


def _load_restart(
    path: Path,
    atoms: Atoms,
    identity: dict[str, np.ndarray],
    settings: dict[str, Any],
) -> dict[str, np.ndarray]:
    """Read a restart file and put `atoms` where it left off.

    Raises
    ------
    ValueError
        If the file is damaged, or belongs to other atoms or other settings.
    """
    with naming(path, BROKEN, always=True):
        saved = read_npz(path)
        before = dict(json.loads(str(saved["settings"])))
        others = [
            name
            for name, value in identity.items()
            if _differ(name, saved.get(name, value), value)
        ]
        not_numbers = {*identity, *PLACES, "settings"}
        _check_numbers(saved, {"step", "mark", *saved} - not_numbers)
    if others:
        raise ValueError(
            f"{path} is of another structure (its {' and '.join(others)} differ); "
            "start a new run"
        )
    changed = [
        f"{name} was {before.get(name)}, now {value}"
        for name, value in settings.items()
        if before.get(name, value) != value
    ]
    if changed:
        raise ValueError(f"{path}: {'; '.join(changed)}; start a new run")
    moved = load_arrays(path, PLACES)
    with naming(path, BROKEN):
        atoms.set_cell(moved["cell"])
        atoms.positions = moved["positions"].reshape(atoms.positions.shape)
        atoms.set_momenta(moved["momenta"], apply_constraint=False)
    return saved


def _check_numbers(saved: dict[str, np.ndarray], names: set[str]) -> None:
    """Make sure that what a run has noted beside the atoms are single numbers."""
    for name in names:
        if not np.isfinite(float(saved[name])):
            raise ValueError(f"{name} is {saved[name]}")
