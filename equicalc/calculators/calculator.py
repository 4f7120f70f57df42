"""The potentials of this package as an ASE calculator: a thin shell over `evaluate`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    CalculatorSetupError,
    InputError,
    all_changes,
    external_calculators,
    register_calculator_class,
)

from equicalc.calculators.committee import Committee, numbered
from equicalc.calculators.members import ModelSpec, Placement
from equicalc.calculators.neighbors import VerletList
from equicalc.calculators.prediction import ase_results, graph_of
from equicalc.calculators.settings import DEFAULTS, check_names, check_values, plain
from equicalc.calculators.states import CHARGE_KEYS, MULTIPLICITY_KEYS, StateGuard
from equicalc.calculators.structures import check_elements, list_of_atoms
from equicalc.checkpoint import checksum


class EquiCalculator(Calculator):
    """Energies, forces and stresses of our potentials for ASE.

    One evaluation gives all properties, whichever ASE asks for first. Units are ASE's:
    Angstrom, eV, e. The dipole is that of molecules, the stress that of crystals.

    Parameters
    ----------
    model : str, Path, nn.Module, None, or a list of them
        Name of a shipped model, file of a checkpoint, or a network of
        `equicalc.models` (which is copied); None loads the shipped default. A list
        is a committee: results are means, deviations go to `extras`.
    device : str
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    dtype : str or torch.dtype
        ``"float32"`` or ``"float64"``. Positions and energies are float64 in any case.
    skin : float
        Angstrom; above 0 the neighbour search is reused until an atom has moved by
        half of it or the cell has changed. Results do not depend on it.
    backend : str
        Kernels, see `equicalc.models`.
    other_states : {"error", "warn", "ignore"}
        What to do with a charged or open-shell structure: the models know neutral
        closed-shell ones only.
    atoms : Atoms, optional
        Attach the calculator to this structure.

    Attributes
    ----------
    results : dict
        Properties of the last structure under ASE's names.
    extras : dict
        What ASE has no name for: ``energy_std`` (eV) and ``forces_std``
        ((n_atoms, 3), eV/Angstrom) of a committee.
    committee : Committee
        The models, with their cards in ``committee.members``.

    Raises
    ------
    CalculatorSetupError
        If a model cannot be loaded.
    InputError
        For an unknown setting or value.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from equicalc.models import Potential, PotentialConfig
    >>> network = Potential(PotentialConfig(elements=(1, 8), channels=4, layers=2))
    >>> water = molecule("H2O")
    >>> water.calc = EquiCalculator(network, device="cpu")
    >>> water.get_forces().shape
    (3, 3)
    >>> water.calc
    EquiCalculator(model='<Potential in memory>', device='cpu', dtype='float32')
    """

    parameters: dict[str, Any]
    implemented_properties = [  # noqa: RUF012
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "dipole",
        "charges",
    ]
    default_parameters = dict(DEFAULTS)  # noqa: RUF012

    def __init__(
        self,
        model: ModelSpec | Sequence[ModelSpec] = None,
        device: str = "auto",
        dtype: str | torch.dtype = "float32",
        skin: float = 0.5,
        backend: str = "auto",
        other_states: str = "error",
        *,
        atoms: Atoms | None = None,
    ) -> None:
        super().__init__()
        self.extras: dict[str, Any] = {}
        self._states = StateGuard()
        self._configure(
            model,
            device=device,
            dtype=dtype,
            skin=skin,
            backend=backend,
            other_states=other_states,
        )
        if atoms is not None:
            atoms.calc = self

    @property
    def digest(self) -> str:
        """Beginning of the sha256 of the tensors of all models."""
        models = [member.model for member in self.committee.members]
        return checksum(
            {
                f"{index} {name}": tensor.cpu()
                for index, model in enumerate(models)
                for name, tensor in model.state_dict().items()
            }
        )[:12]

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Change settings, named as in the constructor, and forget all results.

        Returns
        -------
        dict
            The settings that changed.

        Raises
        ------
        InputError
            If a name or a value is unknown.
        """
        check_names(kwargs)
        now = self.parameters
        changed = {
            name: value
            for name, value in plain(kwargs).items()
            if not (value is now[name] or value == now[name])
        }
        if changed:
            current = {**self.parameters, "model": self.committee.source, **changed}
            self._configure(**current)
        return changed

    def reset(self) -> None:
        """Forget the last structure, its results and its neighbours."""
        super().reset()
        self.extras = {}
        skin = self.parameters["skin"]
        self._lists = {c: VerletList(c, skin) for c in self.committee.cutoffs}

    def todict(self, skip_default: bool = False) -> dict[str, Any]:
        """Return the settings, all of them by default, as JSON-able values.

        A calculator of a network that was never saved cannot be built again from
        this in another process.
        """
        if skip_default:
            return super().todict(skip_default=True)
        return dict(self.parameters)

    @classmethod
    def fromdict(cls, settings: dict[str, Any]) -> Self:
        """Build the calculator that `todict` described.

        Raises
        ------
        InputError
            If a setting is unknown.
        """
        check_names(settings)
        return cls(**settings)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """List what changed since the last calculation, charge and spin included."""
        changes = super().check_state(atoms, tol=tol)
        if self.atoms is not None:
            old, new = self.atoms.info, atoms.info
            changes += [
                key
                for key in CHARGE_KEYS + MULTIPLICITY_KEYS
                if (key in old) != (key in new)
                or (key in old and not np.array_equal(old[key], new[key]))
            ]
        return changes

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """Return a property, see `ase.calculators.calculator`.

        Raises
        ------
        PropertyNotImplementedError
            For the stress of a molecule, the dipole moment of a crystal, and what the
            model does not predict.
        """
        subject = self.atoms if atoms is None else atoms
        if subject is None:
            raise CalculatorSetupError(f"no structure to compute {name} of: give atoms")
        self.committee.check_defined(name, subject)
        return super().get_property(name, atoms, allow_calculation)

    @torch.inference_mode(False)
    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Collection[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute every property that the structure has.

        1. check the structure; 2. find its neighbours; 3. evaluate each model;
        4. average.

        Raises
        ------
        InputError
            If the structure is not one that the model can describe.
        CalculationFailed
            If atoms overlap, a result is not finite, or memory runs out.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise CalculatorSetupError("no structure to calculate: give atoms")
        self.results, self.extras = {}, {}
        check_elements(atoms, self.committee.elements)
        self._states.check(atoms)
        super().calculate(atoms, list(properties or ["energy"]), list(system_changes))
        graphs = {c: graph_of(atoms, near(atoms)) for c, near in self._lists.items()}
        outputs = self.committee.outputs_for(atoms)
        [(mean, self.extras)] = self.committee.predict(graphs, outputs)
        self.results = ase_results(mean)

    @torch.inference_mode(False)
    def compute(
        self,
        structures: Iterable[Atoms],
        properties: Collection[str] | None = None,
        batch_size: int = 64,
    ) -> list[dict[str, Any]]:
        """Evaluate many structures, `batch_size` of them at a time.

        Neither the structures nor `results` are touched.

        Parameters
        ----------
        structures : iterable of Atoms
            Of any sizes, molecules and crystals mixed.
        properties : collection of str, optional
            ASE's names, and ``energy_std`` and ``forces_std`` of a committee. All that
            each structure has if omitted.
        batch_size : int
            Structures evaluated together.

        Returns
        -------
        list of dict
            Property to value for every structure, in the order given.

        Raises
        ------
        PropertyNotImplementedError
            If a structure does not have a property that is asked for.
        InputError, CalculationFailed
            As for a single structure; the message says which one.

        Examples
        --------
        >>> from ase.build import molecule
        >>> from equicalc.models import Potential, PotentialConfig
        >>> network = Potential(PotentialConfig(elements=(1, 8), channels=4, layers=2))
        >>> calc = EquiCalculator(network, device="cpu")
        >>> answers = calc.compute([molecule("H2O"), molecule("H2")], ["forces"])
        >>> [answer["forces"].shape for answer in answers]
        [(3, 3), (2, 3)]
        """
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; give at least 1")
        if isinstance(properties, str):
            raise InputError(f"properties is {properties!r}; give a list of names")
        structures = list_of_atoms(structures)
        for index, atoms in enumerate(structures):
            with numbered(index):
                self._states.check(atoms)
        return self.committee.many(structures, properties, batch_size)

    @torch.inference_mode(False)
    def get_hessian(self, atoms: Atoms) -> np.ndarray:
        """Return the second derivatives of the energy.

        Parameters
        ----------
        atoms : Atoms
            One structure.

        Returns
        -------
        hessian : (3 n_atoms, 3 n_atoms), eV/Angstrom^2
            Row and column 3 i + k belong to coordinate k of atom i, as in
            `ase.vibrations`; ``hessian.reshape(n_atoms, 3, n_atoms, 3)`` is the layout
            of `ase.vibrations.VibrationsData`.
        """
        self._states.check(atoms)
        return np.mean(self.committee.single(atoms, "hessian"), axis=0)

    def get_descriptors(self, atoms: Atoms) -> np.ndarray:
        """Return the invariant features from which the model reads atomic energies.

        Parameters
        ----------
        atoms : Atoms
            One structure.

        Returns
        -------
        descriptors : (n_atoms, channels)
            Unitless; row i describes the surroundings of atom i, unchanged by
            rotation, inversion and translation. Column c of one model always means the
            same, columns of different models do not. A committee's lie side by side,
            (n_atoms, sum of channels), in the order of the models.
        """
        self._states.check(atoms)
        return np.concatenate(self.committee.single(atoms, "embedding"), axis=1)

    def __repr__(self) -> str:
        model, dtype = self.parameters["model"], self.parameters["dtype"]
        device = str(self.committee.members[0].device)
        return f"{type(self).__name__}({model=}, {device=}, {dtype=})"

    def _get_name(self) -> str:
        return "equicalc"

    @torch.inference_mode(False)  # forces are derivatives
    def _configure(
        self, model: ModelSpec | Sequence[ModelSpec], **settings: Any
    ) -> None:
        """Load the models and take over the settings, or change nothing."""
        settings = plain(settings)
        check_values(settings)
        placement = Placement(*(settings[name] for name in Placement._fields))
        try:
            self.committee = Committee(model, placement)
        except (OSError, TypeError, ValueError) as error:
            raise CalculatorSetupError(str(error)) from error
        self.parameters.update(settings, model=self.committee.label)
        self._states.policy = settings["other_states"]
        self.implemented_properties = [
            name
            for name in type(self).implemented_properties
            if name in self.committee.properties
        ]
        self.reset()


if "equicalc" not in external_calculators:
    register_calculator_class("equicalc", EquiCalculator)
