"""Properties of molecules by a network that was trained on them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculatorSetupError, InputError
from numpy.typing import NDArray
from torch import nn

from equicalc.calculators.batches import graph_batches
from equicalc.calculators.members import resolve_device, resolve_dtype
from equicalc.calculators.structures import list_of_atoms
from equicalc.checkpoint import load_checkpoint
from equicalc.data.qm9 import TARGETS
from equicalc.models import PropertyNetwork
from equicalc.pretrained import weights_path


class PropertyPredictor:
    """Predict what a property network was trained for: U0, a dipole moment, a gap.

    Parameters
    ----------
    model : PropertyNetwork
        The network.
    batch_size : int
        Structures at a time.

    Attributes
    ----------
    units : dict
        Name of every property, in order, to its unit.
    elements : tuple of int
        Atomic numbers that a structure may have.

    Raises
    ------
    CalculatorSetupError
        If the network predicts something else.

    Examples
    --------
    >>> from ase.build import molecule
    >>> predictor = PropertyPredictor.from_pretrained("qm9-u0", device="cpu")
    >>> predictor.units
    {'U0': 'eV'}
    >>> methane = predictor.predict(molecule("CH4"))["U0"]
    >>> bool(abs(methane - -1102.0) < 1.0)  # B3LYP, with all electrons
    True
    """

    def __init__(self, model: nn.Module, *, batch_size: int = 64) -> None:
        if not isinstance(model, PropertyNetwork):
            raise CalculatorSetupError(
                f"a {type(model).__name__} does not predict properties of molecules: "
                "name a network that was trained as equitriton or qm9net"
            )
        if model.config.kind != "scalar":
            raise CalculatorSetupError(
                f"this network was trained on {', '.join(model.config.targets)}, to "
                "begin another run with: give its file as init of one with a property"
            )
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; give at least 1")
        self.model = model
        self.batch_size = batch_size
        self.elements = tuple(model.elements)
        self.units = {name: TARGETS[name].unit for name in model.config.targets}

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "qm9-u0",
        *,
        device: str = "auto",
        dtype: str = "float32",
        backend: str = "auto",
        batch_size: int = 64,
    ) -> Self:
        """Load a network.

        Parameters
        ----------
        model
            Name of a shipped one, or the file of a checkpoint.
        device, dtype, backend
            As for `equicalc.EquiCalculator`.
        batch_size
            See the class.

        Raises
        ------
        FileNotFoundError
            If there is no such name or file.
        """
        network, _ = load_checkpoint(
            weights_path(model), resolve_device(device), resolve_dtype(dtype), backend
        )
        return cls(network, batch_size=batch_size)

    @torch.no_grad()
    def predict(
        self, structures: Atoms | Iterable[Atoms]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the properties of structures.

        Parameters
        ----------
        structures
            One molecule, relaxed as those of the training data were, or many.

        Returns
        -------
        dict
            Name of every property to (n,), in its unit; to () for one molecule.

        Raises
        ------
        InputError
            If there is no structure, an element is unknown, or a structure is charged,
            of open shells or periodic; it names what is wrong and the structure.
        """
        alone = isinstance(structures, Atoms)
        listed = list_of_atoms([structures] if alone else structures)
        if not listed:
            raise InputError("there is no structure: give at least one")
        device = str(next(self.model.parameters()).device)
        batches = graph_batches(
            listed,
            self.elements,
            self.model.cutoff,
            self.batch_size,
            device,
            molecules_only=True,
        )
        rows = torch.cat([self.model(graph)["values"].cpu() for graph in batches])
        values = rows.numpy()[0] if alone else rows.numpy()
        return dict(zip(self.units, values.T))
