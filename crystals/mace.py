"""Lattice energies by MACE: our own small one, foundation models, and files.

Crystals and their molecules are evaluated together, energies only, which is several
times cheaper than a calculator with forces.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from equicalc.calculators import EquiCalculator
from equicalc.checkpoint import load_checkpoint
from equicalc.graph import collate, make_graph
from equicalc.models import Mace, evaluate
from equicalc.models.mace import require_mace
from equicalc.pretrained import Registry

from .errors import UnknownElementError
from .lattice import LatticeEnergy, gas_phase, packed_energy

if TYPE_CHECKING:
    from ase import Atoms

    from .crystal import MolecularCrystal

__all__ = ["MaceLabels", "load_mace"]

logger = logging.getLogger(__name__)

OWN = "mace-gfn2"
D3 = "+d3"
DOUBLE = "+float64"
MOST_ATOMS = 2000  # in a batch
ASL = "Academic Software License: no commercial use, github.com/gabor1/ASL"
NON_COMMERCIAL = ("off-", "small-omat", "medium-omat", "mace-matpes", "mh-")


@dataclass(frozen=True)
class MaceLabels:
    """Energies of structures by a MACE model.

    Attributes
    ----------
    name
        As given to `load_mace`.
    version
        Package, model, hash of its file, precision and dispersion.
    model
        The network.
    d3
        Whether the dispersion energy of D3(BJ) for PBE is added.
    """

    name: str
    version: str
    model: Mace = field(repr=False)
    d3: bool = False

    def energies(self, structures: Sequence[Atoms]) -> np.ndarray:
        """Total energies (n,), eV; crystals and molecules in any mixture.

        Raises
        ------
        UnknownElementError
            If the model does not know an element.
        """
        for atoms in structures:
            self._require_elements(atoms)
        found = np.empty(len(structures))
        for rows in _batches(structures):
            graph = collate([self._graph(structures[row]) for row in rows])
            energy = evaluate(self.model, graph, ("energy",))["energy"]
            found[rows] = energy.numpy()
        if self.d3:
            found += [_dispersion(atoms) for atoms in structures]
        return found

    def interactions(self, crystals: Sequence[MolecularCrystal]) -> np.ndarray:
        """Energies (n,) of crystals against their molecules as they are, eV each."""
        structures, owner, share = [], [], []
        for row, crystal in enumerate(crystals):
            n = crystal.n_molecules
            structures += [crystal.to_atoms(), *crystal.molecules]
            owner += [row] * (1 + len(crystal.molecules))
            share += [1 / n, *(-count / n for count in crystal.multiplicities)]
        total = np.zeros(len(crystals))
        np.add.at(total, owner, self.energies(structures) * np.array(share))
        return total

    def lattice_energy(
        self, crystal: MolecularCrystal, gas: Atoms | None = None, strain: bool = False
    ) -> LatticeEnergy:
        """Lattice energy against the molecule of the gas phase.

        Parameters
        ----------
        crystal
        gas
            That molecule; by default the one of the crystal.
        strain
            Relax the molecule of the crystal, if none is given.
        """
        (interaction,) = self.interactions([crystal])
        notes: list[str] = []
        if gas is None and not strain:
            return packed_energy(crystal, interaction, 0.0, notes)
        shares = np.array(crystal.multiplicities) / crystal.n_molecules
        posed = float(shares @ self.energies(crystal.molecules))
        if gas is not None:
            (reference,) = self.energies([gas])
        else:
            reference, notes = gas_phase(crystal.molecules, self.calculator())
        return packed_energy(crystal, interaction, posed - reference, notes)

    def calculator(self) -> EquiCalculator:
        """ASE calculator of the same model, with forces and stress.

        Raises
        ------
        ValueError
            If dispersion is asked for, which here has energies only.
        """
        if self.d3:
            raise ValueError(
                f"{self.name}: D3 is for energies only; relax without {D3}"
            )
        dtype = next(self.model.parameters()).dtype
        return EquiCalculator(self.model, device="cpu", dtype=dtype)

    def _graph(self, atoms: Atoms) -> Any:
        return make_graph(
            atoms.numbers,
            atoms.positions,
            atoms.cell.array,
            atoms.pbc,
            cutoff=self.model.cutoff,
        )

    def _require_elements(self, atoms: Atoms) -> None:
        unknown = set(atoms.numbers.tolist()) - set(self.model.elements)
        if unknown:
            from ase.data import chemical_symbols

            known = ", ".join(chemical_symbols[z] for z in self.model.elements)
            raise UnknownElementError(
                f"{self.name} does not know {chemical_symbols[min(unknown)]}; it "
                f"knows {known}"
            )


@lru_cache(maxsize=2)
def load_mace(name: str = "mace") -> MaceLabels:
    """Load a MACE for labels.

    Parameters
    ----------
    name
        ``"mace"``, the one that is shipped; ``"mace:NAME"``, a foundation model of
        mace-torch such as ``medium-mpa-0`` or ``off-small`` (downloaded once);
        ``"mace:FILE"``, a model of mace-torch or of this package. Then ``+d3`` for
        dispersion and ``+float64`` for double precision, in any order.

    Raises
    ------
    ImportError
        If mace-torch, or dftd3 for ``+d3``, is not installed.
    ValueError
        If there is no such model, or it cannot be had without a network.

    Notes
    -----
    Files of mace-torch are pickles: reading one runs what its author put into it. Give
    files of people you trust. Those of this package are safetensors.
    """
    text, options = _split(name)
    d3, double = D3 in options, DOUBLE in options
    if d3:
        _require_dftd3()
    dtype = torch.float64 if double else torch.float32
    chosen = text.partition(":")[2] or OWN
    shipped = Registry.read().models
    if chosen in shipped or chosen.endswith(".safetensors"):
        path = Registry.read().weights_path(chosen)
        network, _ = load_checkpoint(path, dtype=dtype)
    else:
        path = Path(chosen) if Path(chosen).is_file() else _foundation(chosen)
        network = Mace(_unpickled(path).to(dtype)).eval()
    if not isinstance(network, Mace):
        raise ValueError(f"{chosen} is a {type(network).__name__}, no MACE")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    precision = str(dtype).removeprefix("torch.")
    parts = [f"mace-torch {version('mace-torch')}", path.name, digest, precision]
    if d3:
        parts.append("D3(BJ) of PBE")
    return MaceLabels(name, ", ".join(parts), network.requires_grad_(False), d3)


def _split(name: str) -> tuple[str, set[str]]:
    """Separate what a MACE is called from its options."""
    text, options = name, set()
    while ending := next((o for o in (D3, DOUBLE) if text.endswith(o)), None):
        text = text.removesuffix(ending)
        options.add(ending)
    if text != "mace" and not text.startswith("mace:"):
        raise ValueError(
            f"method {name!r} is unknown; give mace, mace:NAME or mace:FILE, then "
            f"{D3} or {DOUBLE}"
        )
    return text, options


def _batches(structures: Sequence[Atoms]) -> Iterator[list[int]]:
    """Rows of structures that go together, with a bounded number of atoms."""
    rows: list[int] = []
    size = 0
    for row, atoms in enumerate(structures):
        if rows and size + len(atoms) > MOST_ATOMS:
            yield rows
            rows, size = [], 0
        rows.append(row)
        size += len(atoms)
    if rows:
        yield rows


def _unpickled(path: Path) -> torch.nn.Module:
    """Read a file of mace-torch."""
    require_mace()
    logger.warning("%s is a pickle: reading it runs what its author put there", path)
    try:
        network = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # unpickling raises whatever it likes
        raise ValueError(
            f"{path} is no model of mace-torch ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(network, torch.nn.Module):
        raise ValueError(f"{path} holds a {type(network).__name__}, no model")
    return network


def _foundation(name: str) -> Path:
    """Download a foundation model, or find it where it was put before."""
    require_mace()
    from mace.calculators import foundations_models as theirs

    known = {**theirs.mace_mp_urls}
    known |= {f"off-{size}": url for size, url in theirs.mace_off_urls.items()}
    if name not in known:
        raise ValueError(
            f"MACE {name!r} is neither a file nor a foundation model; give "
            f"{', '.join(known)}, a file, or nothing for the shipped one"
        )
    licence = ASL if name.startswith(NON_COMMERCIAL) else "MIT"
    logger.warning("MACE %s, licence: %s", name, licence)
    try:
        with redirect_stdout(io.StringIO()):
            return Path(theirs.download_mace_mp_checkpoint(known[name]))
    except Exception as error:  # of the network, of any kind
        raise ValueError(
            f"MACE {name!r} is not on this machine and cannot be downloaded ({error}); "
            "go online once, give a file, or take the shipped one: mace"
        ) from error


def _require_dftd3() -> Any:
    try:
        from dftd3 import ase as dftd3  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            f"D3 energies need dftd3 ({error}): pip install dftd3"
        ) from error
    return dftd3


def _dispersion(atoms: Atoms) -> float:
    """D3(BJ) energy for PBE, eV."""
    copy = atoms.copy()
    copy.calc = _require_dftd3().DFTD3(method="PBE", damping="d3bj")
    return float(copy.get_potential_energy())
