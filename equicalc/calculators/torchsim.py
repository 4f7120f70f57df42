"""The potentials of this package as a TorchSim model, for batched dynamics on a GPU.

With TorchSim installed (``pip install torch-sim-atomistic``) the class below is one of
its models; without, an ordinary network that takes anything shaped like its states.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equicalc.calculators.members import ModelSpec, Placement, load_member
from equicalc.graph import collate, make_graph
from equicalc.models import evaluate

if TYPE_CHECKING:
    from torch.nn import Module as ModelInterface
    from torch_geometric.data import Data
else:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchSim's own
            from torch_sim.models.interface import ModelInterface
    except ImportError:
        from torch.nn import Module as ModelInterface


class EquiTorchSimModel(ModelInterface):
    """Energies, forces and stresses of a batch of TorchSim states.

    Parameters
    ----------
    model : str, Path, nn.Module or None
        Name of a shipped model, file of a checkpoint, or a network; None is the
        shipped default.
    device, dtype, backend : str
        See `EquiCalculator`.
    compute_forces, compute_stress : bool
        What to return beside the energy.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        If the model cannot be loaded, see `load_member`.

    References
    ----------
    .. [1] O. Cohen et al., "TorchSim: An efficient atomistic simulation engine in
       PyTorch", AI for Science 1, 025003 (2025).
    """

    memory_scales_with = "n_atoms_x_density"

    def __init__(
        self,
        model: ModelSpec = None,
        device: str = "auto",
        dtype: str = "float32",
        backend: str = "auto",
        *,
        compute_forces: bool = True,
        compute_stress: bool = True,
    ) -> None:
        super().__init__()
        member = load_member(model, Placement(str(device), dtype, backend))
        self.model = member.model
        self.cutoff = member.cutoff
        self._device = member.device
        self._dtype = next(member.model.parameters()).dtype
        self._compute_forces = compute_forces
        self._compute_stress = compute_stress

    @property
    def device(self) -> torch.device:
        """Where states have to be."""
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights and of the answers."""
        return self._dtype

    @property
    def compute_forces(self) -> bool:
        """Whether forces are returned."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, wanted: bool) -> None:
        self._compute_forces = wanted

    @property
    def compute_stress(self) -> bool:
        """Whether stresses are returned."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, wanted: bool) -> None:
        self._compute_stress = wanted

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Evaluate a batch of systems.

        Parameters
        ----------
        state : SimState or mapping
            ``positions`` (n_atoms, 3), ``cell`` (n_systems, 3, 3) with lattice vectors
            in columns, ``pbc`` for all systems (bool or three), ``atomic_numbers`` and
            ``system_idx`` (n_atoms,). It is not changed.

        Returns
        -------
        dict
            ``energy`` (n_systems,), eV; ``forces`` (n_atoms, 3), eV/Angstrom;
            ``stress`` (n_systems, 3, 3), eV/Angstrom^3, zeros without three periodic
            directions.
        """
        graph = self._graph(state).to(str(self._device))
        crystals = bool(graph.pbc.all())
        outputs = ["energy"]
        outputs += ["forces"] if self._compute_forces else []
        outputs += ["stress"] if self._compute_stress and crystals else []
        out = evaluate(self.model, graph, outputs)
        if self._compute_stress and not crystals:
            out["stress"] = torch.zeros_like(graph.cell)
        return {name: value.to(self._dtype) for name, value in out.items()}

    def _graph(self, state: Any) -> Data:
        """Return the systems as one graph; neighbours are searched one by one."""
        numbers, positions, cell, system, pbc = (
            torch.as_tensor(_field(state, name)).detach().cpu()
            for name in ("atomic_numbers", "positions", "cell", "system_idx", "pbc")
        )
        lattice = cell.reshape(-1, 3, 3).mT.double().numpy()
        periodic = pbc.expand(3).numpy()
        return collate(
            [
                make_graph(
                    numbers[system == k].numpy(),
                    positions[system == k].double().numpy(),
                    lattice[k],
                    periodic,
                    cutoff=self.cutoff,
                )
                for k in range(len(lattice))
            ]
        )


def _field(state: Any, name: str) -> Any:
    return state[name] if isinstance(state, Mapping) else getattr(state, name)
