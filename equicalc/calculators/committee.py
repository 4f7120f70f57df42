"""One model or several that vote, applied to one structure or many."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError, PropertyNotImplementedError

from equicalc.calculators.members import Member, ModelSpec, Placement, load_member
from equicalc.calculators.neighbors import VerletList
from equicalc.calculators.prediction import (
    ase_results,
    average,
    graph_of,
    outputs_for,
    predict,
    split,
)
from equicalc.calculators.structures import check_elements
from equicalc.graph import collate

if TYPE_CHECKING:
    from torch_geometric.data import Data


class Committee:
    """Models that are evaluated together and averaged.

    Parameters
    ----------
    model : str, Path, nn.Module, None, or a sequence of them
        See `load_member`.
    placement : Placement
        Device, precision and kernels of all of them.

    Attributes
    ----------
    members : list of Member
        The models.
    elements : list of int
        Atomic numbers that every model knows.
    cutoffs : list of float
        Their interaction radii, Angstrom, each once.
    electric : tuple of str
        What every model predicts of charges and dipole moments.

    Raises
    ------
    InputError
        If the sequence is empty or the models have no element in common.
    FileNotFoundError, ValueError, TypeError
        See `load_member`.
    """

    def __init__(
        self, model: ModelSpec | Sequence[ModelSpec], placement: Placement
    ) -> None:
        if isinstance(model, Sequence) and not isinstance(model, str):
            self.several, specs = True, list(model)
        else:
            self.several, specs = False, [model]
        if not specs:
            raise InputError("the list of models is empty: give at least one")
        self.members: list[Member] = [load_member(spec, placement) for spec in specs]
        common = set.intersection(*(set(member.elements) for member in self.members))
        if not common:
            raise InputError(f"the models {self.label} have no element in common")
        self.elements = sorted(common)
        self.cutoffs = sorted({member.cutoff for member in self.members})
        first, *others = (member.electric for member in self.members)
        self.electric = tuple(n for n in first if all(n in other for other in others))

    @property
    def label(self) -> str | list[str]:
        """What to pass as a model to get this committee again."""
        labels = [member.label for member in self.members]
        return labels if self.several else labels[0]

    @property
    def source(self) -> ModelSpec | list[ModelSpec]:
        """The label, with the network itself where it has no file."""
        sources: list[ModelSpec] = [
            m.label if m.saved else m.model for m in self.members
        ]
        return sources if self.several else sources[0]

    @property
    def properties(self) -> list[str]:
        """Everything the committee predicts, under ASE's names first."""
        names = ["energy", "free_energy", "energies", "forces", "stress"]
        names += self.electric
        return names + (["energy_std", "forces_std"] if len(self.members) > 1 else [])

    def check_defined(self, name: str, atoms: Atoms) -> None:
        """Refuse a property that the structure or the committee does not have.

        Raises
        ------
        PropertyNotImplementedError
            With the reason.
        """
        if name not in self.properties:
            raise PropertyNotImplementedError(
                f"{name!r} is not a property of this model, which has "
                f"{', '.join(self.properties)}"
            )
        if name == "stress" and not atoms.pbc.all():
            raise PropertyNotImplementedError(
                f"a stress needs three periodic directions, pbc is {atoms.pbc.tolist()}"
            )
        if name == "dipole" and atoms.pbc.any():
            raise PropertyNotImplementedError(
                "the dipole moment of a periodic structure is not unique: set "
                "atoms.pbc = False for a molecule in a box"
            )

    def outputs_for(self, atoms: Atoms) -> tuple[str, ...]:
        """Name everything the committee can say about a structure."""
        return outputs_for(atoms, self.electric)

    def predict(
        self, graphs: dict[float, Data], outputs: Collection[str]
    ) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Yield mean and deviation of the models for every structure of a batch.

        Parameters
        ----------
        graphs : dict
            The same batch for each of `cutoffs`.
        outputs : collection of str
            See `equicalc.models.evaluate`.
        """
        ptr = next(iter(graphs.values())).ptr.tolist()
        predictions = [predict(m, graphs[m.cutoff], outputs) for m in self.members]
        for votes in zip(*(split(p, ptr) for p in predictions)):
            yield average(votes)

    def single(self, atoms: Atoms, output: str) -> list[np.ndarray]:
        """Return one output of every model for one structure."""
        check_elements(atoms, self.elements)
        graphs = {c: graph_of(atoms, VerletList(c)(atoms)) for c in self.cutoffs}
        return [predict(m, graphs[m.cutoff], (output,))[output] for m in self.members]

    def many(
        self, structures: Sequence[Atoms], properties: Collection[str] | None, size: int
    ) -> list[dict[str, Any]]:
        """Evaluate many structures in batches, see `EquiCalculator.compute`."""
        kinds: dict[tuple[str, ...], list[int]] = {}  # same outputs, same batch
        for index, atoms in enumerate(structures):
            with numbered(index):
                check_elements(atoms, self.elements)
                for name in properties or ():
                    self.check_defined(name, atoms)
            kinds.setdefault(self.outputs_for(atoms), []).append(index)
        answers: list[dict[str, Any]] = [{} for _ in structures]
        for outputs, indices in kinds.items():
            for start in range(0, len(indices), size):
                batch = indices[start : start + size]
                graphs = self._batched({i: structures[i] for i in batch})
                for i, (mean, deviation) in zip(batch, self.predict(graphs, outputs)):
                    found = {**ase_results(mean), **deviation}
                    wanted = found if properties is None else properties
                    answers[i] = {name: found[name] for name in wanted}
        return answers

    def _batched(self, structures: dict[int, Atoms]) -> dict[float, Data]:
        batches = {}
        for cutoff in self.cutoffs:
            graphs = []
            for index, atoms in structures.items():
                with numbered(index):
                    graphs.append(graph_of(atoms, VerletList(cutoff)(atoms)))
            batches[cutoff] = collate(graphs)
        return batches


@contextmanager
def numbered(index: int) -> Iterator[None]:
    """Say which of many structures an error is about."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        raise type(error)(f"structure {index}: {error}") from error
