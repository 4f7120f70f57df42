"""QM9: the raw files as published, the list of excluded molecules, atom references.

The set [1]_ holds 133,885 molecules of H C N O F with 15 properties each, B3LYP/
6-31G(2df,p). The 3,054 whose relaxed geometry no longer matches their SMILES string
are listed in a file of their own, and are usually left out.

Energies are converted to eV; the other properties keep the units in which everyone
reports them, such as Debye and Bohr^3.

References
----------
.. [1] R. Ramakrishnan, P. O. Dral, M. Rupp and O. A. von Lilienfeld, Sci. Data 1,
   140022 (2014).
"""

import tarfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from equicalc.data.damage import naming
from equicalc.units import HARTREE

__all__ = [
    "TARGETS",
    "Molecule",
    "Target",
    "as_fields",
    "parse_qm9",
    "read_qm9",
    "read_uncharacterized",
]

Value = TypeVar("Value")

_MOST_BYTES = 1 << 20  # of one record
_NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}


class Target(NamedTuple):
    """A property of the set.

    Parameters
    ----------
    unit
        In which this module gives it.
    factor
        Size of the published unit in that one.
    references
        Value of the free atom for each atomic number, in the published unit; empty
        where there is none.
    """

    unit: str
    factor: float = 1.0
    references: Mapping[int, float] = MappingProxyType({})

    def reference(self, z: NDArray[Any]) -> float:
        """Sum of the free atoms' values for atomic numbers (n_atoms,), in `unit`."""
        if not self.references:
            return 0.0
        return self.factor * sum(self.references[int(number)] for number in z)


def _by_element(h: float, c: float, n: float, o: float, f: float) -> dict[int, float]:
    return dict(zip(_NUMBERS.values(), (h, c, n, o, f)))


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "A": Target("GHz"),
        "B": Target("GHz"),
        "C": Target("GHz"),
        "mu": Target("Debye"),
        "alpha": Target("Bohr^3"),
        "homo": Target("eV", HARTREE),
        "lumo": Target("eV", HARTREE),
        "gap": Target("eV", HARTREE),
        "r2": Target("Bohr^2"),
        "zpve": Target("eV", HARTREE, _by_element(0, 0, 0, 0, 0)),
        "U0": Target(
            "eV",
            HARTREE,
            _by_element(-0.500273, -37.846772, -54.583861, -75.064579, -99.718730),
        ),
        "U": Target(
            "eV",
            HARTREE,
            _by_element(-0.498857, -37.845355, -54.582445, -75.063163, -99.717314),
        ),
        "H": Target(
            "eV",
            HARTREE,
            _by_element(-0.497912, -37.844411, -54.581501, -75.062219, -99.716370),
        ),
        "G": Target(
            "eV",
            HARTREE,
            _by_element(-0.510927, -37.861317, -54.598897, -75.079532, -99.733544),
        ),
        "Cv": Target("cal/mol/K", 1.0, _by_element(2.981, 2.981, 2.981, 2.981, 2.981)),
    }
)
"""The 15 properties, in the order of the files."""


def as_fields(properties: Mapping[str, Value]) -> dict[str, Value]:
    """Name properties as packed data sets do: U0 is the energy.

    Examples
    --------
    >>> as_fields({"mu": 1.9, "U0": -2079.0})
    {'mu': 1.9, 'energy': -2079.0}
    """
    return {"energy" if k == "U0" else k: value for k, value in properties.items()}


@dataclass(frozen=True)
class Molecule:
    """One record of the set.

    Parameters
    ----------
    index
        Number in the set, from 1.
    z : (n_atoms,) uint8
    pos : (n_atoms, 3), Angstrom
    charges : (n_atoms,), e
        Mulliken charges.
    properties
        Name -> value, in the units of `TARGETS`.
    smiles
        Of the relaxed geometry.
    """

    index: int
    z: NDArray[np.uint8]
    pos: NDArray[np.float64]
    charges: NDArray[np.float64]
    properties: Mapping[str, float]
    smiles: str

    def record(self) -> dict[str, Any]:
        """Return what a packed data set stores; the energy is U0."""
        return {
            "z": self.z,
            "pos": self.pos,
            "charges": self.charges,
            "group": self.index,
            **as_fields(self.properties),
        }


def parse_qm9(text: str, name: str = "record") -> Molecule:
    """Read one raw ``dsgdb9nsd_*.xyz`` file.

    Parameters
    ----------
    text
        Content of the file. Exponents may be written ``1.2*^-5``, as some are.
    name
        What to call it in an error message.

    Returns
    -------
    Molecule

    Raises
    ------
    ValueError
        If the record is cut short, or is not of this format.
    """
    lines = text.replace("*^", "e").splitlines()
    try:
        n_atoms = int(lines[0])
        if len(lines) < n_atoms + 4:
            raise ValueError(f"{len(lines)} lines of {n_atoms + 5} are there")
        _, number, *values = lines[1].split()
        index = int(number)
        atoms = [line.split() for line in lines[2 : n_atoms + 2]]
        z = np.array([_NUMBERS[atom[0]] for atom in atoms], dtype=np.uint8)
        table = np.array([atom[1:] for atom in atoms], dtype=float).reshape(-1, 4)
        numbers = np.array(values, dtype=float)
        smiles = lines[n_atoms + 3].split()[-1]
        if len(numbers) != len(TARGETS):
            raise ValueError(f"{len(numbers)} properties of {len(TARGETS)} are there")
        if n_atoms < 1 or not (np.isfinite(table).all() and np.isfinite(numbers).all()):
            raise ValueError("it has no atoms, or numbers that are not finite")
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError(
            f"{name} is not a whole QM9 record ({error}). Needed: the number of atoms; "
            "'gdb', index and 15 properties; element (H C N O F), position and charge "
            "of each atom; frequencies; SMILES; InChI"
        ) from error
    properties = {
        key: target.factor * float(value)
        for (key, target), value in zip(TARGETS.items(), numbers)
    }
    return Molecule(index, z, table[:, :3], table[:, 3], properties, smiles)


def read_qm9(path: str | Path, exclude: Collection[int] = ()) -> Iterator[Molecule]:
    """Read the raw set, one molecule at a time.

    Parameters
    ----------
    path
        The archive ``dsgdb9nsd.xyz.tar.bz2`` as it is published, a folder of its
        ``.xyz`` files, or one of them.
    exclude
        Indices to leave out; see `read_uncharacterized`.

    Yields
    ------
    Molecule
        In the order of the archive, or of the file names.

    Raises
    ------
    ValueError
        If there is no such file, the archive is cut short, or a record is not of
        this format.
    """
    path = Path(path)
    excluded = frozenset(exclude)
    for name, text in _raw_files(path):
        molecule = parse_qm9(text, name)
        if molecule.index not in excluded:
            yield molecule


def _raw_files(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and content of every raw record."""
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.is_dir():
        for file in sorted(path.glob("*.xyz")):
            yield str(file), _text(file)
    elif path.suffix == ".xyz":
        yield str(path), _text(path)
    else:
        problem = "is no archive of QM9, or is cut short: download it again"
        with naming(path, problem), tarfile.open(path, "r|*") as archive:
            for member in archive:
                stream = archive.extractfile(member)
                if member.name.endswith(".xyz") and stream is not None:
                    content = stream.read(_MOST_BYTES).decode()
                    yield f"{path}:{member.name}", content


def _text(path: Path) -> str:
    with naming(path, "is no text of QM9"):
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise ValueError(f"{size} bytes, {_MOST_BYTES} at most are needed")
        return path.read_text(encoding="utf-8")


def read_uncharacterized(path: str | Path) -> frozenset[int]:
    """Read the list of molecules that changed while they were relaxed.

    Parameters
    ----------
    path
        ``uncharacterized.txt`` as it is published, or plain indices, one a line.

    Returns
    -------
    frozenset of int
        Their indices in the set, from 1.

    Raises
    ------
    ValueError
        If there is none.
    """
    path = Path(path)
    words = [line.split() for line in _text(path).splitlines()]
    with naming(path, "lists no indices"):
        found = frozenset(
            int(line[0])
            for line in words
            # the published file ends with the line "3054 compounds"
            if line and line[0].isdigit() and line[1:] != ["compounds"]
        )
    if not found:
        raise ValueError(f"{path} lists no index; one at the start of a line is needed")
    return found
