"""Lattice energies by a trained network: in milliseconds, with an uncertainty."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch

from equicalc.checkpoint import checksum, load_checkpoint
from equicalc.models import LatticeNetwork, LatticePaper
from equicalc.pretrained import weights_path
from equicalc.units import KJ_PER_MOL

from .crystal import MolecularCrystal, as_crystal
from .errors import CrystalError
from .inputs import Network, network_inputs, require_known

if TYPE_CHECKING:
    from ase import Atoms

    from .lattice_calculator import LatticeCalculator
    from .strain import Strain

__all__ = ["LatticeEnergyPredictor", "Row", "rank_rows"]

DEFAULT = "lattice"
CHUNK = 32  # crystals that a thread takes at a time, at most
OK, FAILED = "ok", "failed"
CONTACTS, PACKINGS = (0.6, 1.2), (0.45, 0.95)  # of the crystals that it has seen
FAR_OFF = 5.0  # kJ/mol that the members may differ
SHRUNK, GROWN = -0.1, 0.15  # of the volume, when a crystal is relaxed

_ONE_POOL = threading.Lock()

Row = dict[str, object]


class LatticeEnergyPredictor:
    """Interaction energies of molecular crystals by a trained network.

    Parameters
    ----------
    model
        A `LatticeNetwork`, or a `LatticePaper` for comparison.
    card
        What is known about it.

    Examples
    --------
    >>> from equicalc.crystals import random_crystals
    >>> from equicalc.models import LatticeConfig
    >>> network = LatticeNetwork(LatticeConfig(elements=(1, 8), members=2))
    >>> predictor = LatticeEnergyPredictor(network)
    >>> waters = random_crystals("O", 1, n=2)
    >>> predictor.predict(waters).shape, predictor.uncertainty(waters).shape
    ((2,), (2,))
    """

    def __init__(self, model: Network, card: Mapping[str, Any] | None = None) -> None:
        self.model: Network = copy.deepcopy(model).eval().requires_grad_(False)
        self.card = dict(card or {})

    @classmethod
    def from_pretrained(cls, name: str | Path | None = None) -> Self:
        """Load the shipped predictor, or another one.

        Parameters
        ----------
        name
            ``"lattice"``, the default, trained on GFN2-xTB pairs of molecules;
            ``"lattice-mace"``, on energies of the shipped MACE; or a checkpoint file.

        Raises
        ------
        FileNotFoundError
            If there is no such model.
        ValueError
            If it is of another kind.
        """
        model, card = load_checkpoint(weights_path(name or DEFAULT))
        if not isinstance(model, LatticeNetwork | LatticePaper):
            raise ValueError(
                f"{name} is a {type(model).__name__}; a lattice-energy predictor is "
                "needed"
            )
        return cls(model, card)

    @property
    def arch(self) -> str:
        """``"hybrid"``: pairs of molecules; ``"paper"``: the published perceptron."""
        return "hybrid" if isinstance(self.model, LatticeNetwork) else "paper"

    @property
    def digest(self) -> str:
        """Model and beginning of the sha256 of its tensors."""
        return f"lattice {checksum(self.model.state_dict())[:12]}"

    def predict(self, crystals: Sequence[MolecularCrystal | Atoms]) -> np.ndarray:
        """Interaction energies (n,), kJ/mol per molecule; negative is bound.

        Raises
        ------
        CrystalError
            If one cannot be treated; `score` goes on.
        TypeError
            If it is not a list of crystals.
        """
        return self._members(crystals).mean(axis=0)

    def uncertainty(self, crystals: Sequence[MolecularCrystal | Atoms]) -> np.ndarray:
        """Return the errors (n,) to expect, kJ/mol, as root mean squares.

        From the deviation of the members and, beside it, what crystals of unseen
        molecules were off where the members agreed. Of weights whose card has no such
        ``spread``: the deviation of the members, zeros for one.
        """
        return self._expected(self._members(crystals).std(axis=0))

    def score(
        self,
        crystals: Sequence[MolecularCrystal | Atoms],
        names: Sequence[str] | None = None,
        strain: Strain | None = None,
    ) -> list[Row]:
        """Describe, evaluate and rank crystals; what is wrong stays in its row.

        Parameters
        ----------
        crystals
        names
            Of the rows; by default numbers.
        strain
            What gives the energy of deformed molecules. Without it only the rigid
            molecules' interaction is known, the strain stays empty.

        Returns
        -------
        list of dict
            In the order of the crystals. Ranks and ``dE_kJ/mol`` compare those with
            the same formula. A failed row has no energies.
        """
        names = names or [str(n) for n in range(len(crystals))]
        rows = [self._described(n, one) for n, one in zip(names, crystals, strict=True)]
        good = [row for row in rows if row["status"] == OK]
        found = [cast("MolecularCrystal", row.pop("crystal")) for row in good]
        members = self._members(found)
        expected = self._expected(members.std(axis=0))
        for row, crystal, energies, std in zip(good, found, members.T, expected):
            _complete(row, crystal, energies, float(std), strain)
        rank_rows(good)
        return rows

    def doubts(
        self,
        crystal: MolecularCrystal | Atoms,
        before: MolecularCrystal | Atoms | None = None,
    ) -> list[str]:
        """Say in what a crystal is unlike those that the network has learned from.

        Parameters
        ----------
        crystal
            If it has become none, that is what is said.
        before
            Of a relaxed one: what it was. A crystal that has become much denser or
            lighter has most likely left what the network knows.
        """
        try:
            crystal = as_crystal(crystal)
        except CrystalError as error:
            return [str(error)]
        notes = _doubts(crystal, float(self._members([crystal]).std()))
        if before is not None:
            before = as_crystal(before)
            change = before.n_molecules * crystal.volume
            change = change / (crystal.n_molecules * before.volume) - 1
            if not SHRUNK < change < GROWN:
                notes.append(f"volume changed by {100 * change:+.0f} %")
        return notes

    def as_calculator(self, molecules: Any = None) -> LatticeCalculator:
        """ASE calculator with energy, forces and stress, to relax crystals.

        Parameters
        ----------
        molecules
            Calculator of the single molecules, whose energies are added; by default
            the shipped potential.

        Raises
        ------
        ValueError
            If the network is a `LatticePaper`, whose energies are not continuous.
        """
        if not isinstance(self.model, LatticeNetwork):
            raise ValueError(
                "a predictor of task lattice-paper gives no forces: its energies jump "
                "with the setting of the cell; take one of task lattice, as the "
                "shipped one is"
            )
        from .lattice_calculator import LatticeCalculator

        return LatticeCalculator(self.model, molecules)

    def require_known(self, crystal: MolecularCrystal) -> None:
        """Refuse crystals that the network is not for, see `inputs.require_known`."""
        require_known(crystal, self.model.config)

    def _described(self, name: str, crystal: MolecularCrystal | Atoms) -> Row:
        """Row without energies; with the crystal itself if it can be treated."""
        row: Row = {"file": name}
        try:
            crystal = as_crystal(crystal)
            row |= {
                "formula": crystal.molecules[0].get_chemical_formula(),
                "spacegroup": crystal.spacegroup,
                "Z": crystal.z,
                "Z'": crystal.z_prime,
                "density_g/cm3": crystal.density,
                "packing": crystal.packing,
                "contact_vdW": crystal.contact,
            }
            self.require_known(crystal)
        except CrystalError as error:
            return row | {"status": error.code, "message": str(error)}
        except Exception as error:  # of whatever reads and analyses structures
            reason = f"{type(error).__name__}: {error}"
            return row | {"status": FAILED, "message": reason}
        return row | {"crystal": crystal, "status": OK, "message": ""}

    def _expected(self, deviation: np.ndarray) -> np.ndarray:
        """Return errors to expect where the members deviate so much, kJ/mol."""
        factor, floor = self.card.get("spread", (1.0, 0.0))
        return np.hypot(factor * deviation, floor)

    def _members(self, crystals: Sequence[MolecularCrystal | Atoms]) -> np.ndarray:
        """Energies (n_members, n_crystals) of each member, kJ/mol.

        Molecules of a size go together: a batch has room for its largest in all places.
        """
        if not isinstance(crystals, Sequence):
            kind = type(crystals).__name__
            raise TypeError(
                f"a list of crystals is needed, not {kind}; [crystal] for one"
            )
        n, energies = len(crystals), np.empty((len(self.model.members), len(crystals)))
        alike = np.argsort([_n_atoms(one) for one in crystals], kind="stable")
        with _threads() as (pool, n_threads):
            rounds = math.ceil(n / (n_threads * CHUNK))
            size = math.ceil(n / (n_threads * max(rounds, 1))) or 1
            chunks = [alike[start : start + size] for start in range(0, n, size)]
            work = pool.map(self._evaluate, [[crystals[i] for i in c] for c in chunks])
            for chunk, found in zip(chunks, work):
                energies[:, chunk] = found
        return energies / KJ_PER_MOL

    def _evaluate(self, crystals: Sequence[MolecularCrystal | Atoms]) -> np.ndarray:
        """Energies (n_members, n_crystals) of a few crystals, eV."""
        found = [as_crystal(one) for one in crystals]
        for crystal in found:
            self.require_known(crystal)
        dtype = next(self.model.parameters()).dtype
        inputs = network_inputs(found, self.model.config, dtype)
        with torch.inference_mode():
            out = self.model(inputs)
        return out["members"].double().numpy()


@contextmanager
def _threads() -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """As many threads as torch has, which share no work of torch's among them.

    One such pool at a time: torch's number of threads is that of the whole process.
    """
    with _ONE_POOL:
        n = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(
                n, initializer=torch.set_num_threads, initargs=(1,)
            ) as pool:
                yield pool, n
        finally:
            torch.set_num_threads(n)


def _n_atoms(crystal: MolecularCrystal | Atoms) -> int:
    """Atoms of a molecule; of the cell if molecules are not known yet."""
    if isinstance(crystal, MolecularCrystal):
        return len(crystal.molecules[0])
    return len(crystal)


def _complete(
    row: Row,
    crystal: MolecularCrystal,
    energies: np.ndarray,
    std: float,
    strain: Strain | None,
) -> None:
    """Add energy and expected error to a row, and what makes them doubtful."""
    interaction = float(energies.mean())
    if not np.isfinite(interaction):
        row |= {"status": FAILED, "message": "the energy is not a number"}
        return
    notes = _doubts(crystal, float(energies.std()))
    bent = 0.0
    if strain is not None:
        try:
            bent, more = strain.of(crystal)
        except Exception as error:  # every calculator has its own
            reason = f"{type(error).__name__}: {error}"
            row |= {"status": FAILED, "message": reason}
            return
        notes += more
    row["energy_kJ/mol"] = interaction + bent
    row["interaction_kJ/mol"] = interaction
    row["strain_kJ/mol"] = bent if strain is not None else ""
    row["std_kJ/mol"] = std
    row["message"] = "; ".join(notes)


def _doubts(crystal: MolecularCrystal, std: float) -> list[str]:
    """Ways in which a crystal is unlike those that the network has learned from."""
    found = {
        "contact": (crystal.contact, CONTACTS),
        "packing": (crystal.packing, PACKINGS),
    }
    notes = [
        f"unusual {name} {value:.2f}"
        for name, (value, (low, high)) in found.items()
        if not low <= value <= high
    ]
    return notes + ([f"members differ by {std:.1f} kJ/mol"] if std > FAR_OFF else [])


def rank_rows(rows: Sequence[Row]) -> None:
    """Rank rows of `LatticeEnergyPredictor.score` anew, as one call would have done.

    Parameters
    ----------
    rows
        ``rank`` and ``dE_kJ/mol`` are set where there is an energy, among the rows of
        the same formula, the lowest energy first.
    """
    by_formula: dict[object, list[Row]] = {}
    for row in rows:
        if row.get("energy_kJ/mol", "") != "":
            by_formula.setdefault(row["formula"], []).append(row)
    for same in by_formula.values():
        ordered = sorted(same, key=_energy)
        for rank, row in enumerate(ordered, 1):
            row["rank"] = rank
            row["dE_kJ/mol"] = _energy(row) - _energy(ordered[0])


def _energy(row: Row) -> float:
    return cast("float", row["energy_kJ/mol"])
