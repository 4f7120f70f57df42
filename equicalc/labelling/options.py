"""What a labelling run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from equicalc.data.yaml_files import read_yaml

_FORBID_UNKNOWN = {"extra": "forbid"}  # for pydantic


@dataclass(frozen=True)
class Source:
    """One file of molecules.

    Parameters
    ----------
    path
        SMILES (``.smi``, ``.txt``, ``.csv``, ``.npz``) or structures (any format of
        ASE). ``~`` and ``${VARIABLE}`` are expanded.
    frames
        Structures made and labelled per molecule.
    limit
        At most so many molecules, drawn at random.
    fragments
        Cut the molecules into pieces first.
    max_heavy_atoms
        Pass over larger molecules before `limit` is applied.
    core
        These molecules are of group 0, which belongs in every training set; they
        meet molecules of all other groups in dimers and clusters.
    """

    path: str
    frames: int = 10
    limit: int | None = None
    fragments: bool = False
    max_heavy_atoms: int | None = None
    core: bool = False

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(
                f"frames = {self.frames} of {self.path}; give 1 structure or more"
            )


@dataclass(frozen=True)
class LabelOptions:
    """A labelling run; the same options always give the same structures.

    Parameters
    ----------
    sources
        Files of molecules; the first file that holds a molecule counts.
    out
        Folder for the finished shards, the failures and the packed data set.
    calculator
        Name for `equicalc.calculators.named.named_calculator`.
    seed
        Seed of all random choices.
    workers
        Processes; 0 means one per processor core that the run may use.
    elements
        Molecules with other elements are left out.
    max_heavy_atoms
        Larger molecules are left out.
    dimers, dimer_frames
        Number of random pairs of molecules, structures of each.
    clusters, cluster_frames
        Number of random clusters of three to five molecules, structures of each.
    crowds, crowd_frames
        Number of random crowds of one to eight molecules, structures of each, most of
        them squeezed as a whole: what happens at high density.
    diatomics
        Structures per pair of elements, between 0.5 and 6 Angstrom; 0 for none.
    single_atoms
        Whether each element is labelled as a single atom.
    max_force
        Structures with a larger force (eV/Angstrom) on an atom are left out.
    timeout
        Seconds without a new structure after which a worker is given up.
    shard_units
        Molecules, dimers or clusters per file of finished work.
    licence
        Of the labels and the molecules, stored with the data.
    """

    sources: tuple[Source, ...]
    out: str
    calculator: str = "gfn2"
    seed: int = 0
    workers: int = 0
    elements: tuple[str, ...] = ("H", "C", "N", "O", "F", "S", "Cl")
    max_heavy_atoms: int = 12
    dimers: int = 0
    dimer_frames: int = 6
    clusters: int = 0
    cluster_frames: int = 5
    crowds: int = 0
    crowd_frames: int = 5
    diatomics: int = 0
    single_atoms: bool = True
    max_force: float = 50.0
    timeout: float = 120.0
    shard_units: int = 100
    licence: str = "not stated"
    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("no sources: give at least one file of molecules")
        for name in ("workers", "dimers", "clusters", "crowds", "diatomics"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)}; give 0 or more")
        frames = ("dimer_frames", "cluster_frames", "crowd_frames")
        for name in ("max_force", "timeout", "shard_units", "max_heavy_atoms", *frames):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} = {getattr(self, name)}; give more than 0")


def load_options(path: str | Path) -> LabelOptions:
    """Read the options of a run from a YAML file.

    Raises
    ------
    ValueError
        If it cannot be read, has an unknown key or a value of the wrong kind.
    """
    from pydantic import TypeAdapter, ValidationError

    content, _ = read_yaml(path)
    try:
        return TypeAdapter(LabelOptions).validate_python(content)
    except ValidationError as error:
        problems = "\n".join(_problem(dict(item)) for item in error.errors())
        raise ValueError(f"{path}:\n{problems}") from None


def _problem(item: dict[str, Any]) -> str:
    """One line for one complaint of pydantic."""
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] != "unexpected_keyword_argument":
        message = item["msg"].lower().replace("a valid tuple", "a list")
        return f"{where or 'options'}: {message}, given {item['input']!r}"
    kind = Source if "sources" in item["loc"][:-1] else LabelOptions
    known = [field.name for field in fields(kind)]
    near = get_close_matches(str(item["loc"][-1]), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"{where}: unknown key; {hint}"
