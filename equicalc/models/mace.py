"""MACE of mace-torch, with the interface of the other networks.

A MACE of our own is described by a configuration, so that its file holds tensors and
JSON only. One of somebody else's is wrapped as it is.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from equicalc import o3
from equicalc.graph import edge_vectors
from equicalc.kernels import patch
from equicalc.models.fields import check_elements, check_one_each, freeze
from equicalc.nn.species import SpeciesIndex

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True)
class MaceConfig:
    """Shape of a `Mace`; everything needed to build it again.

    Attributes
    ----------
    elements, cutoff, channels, layers, n_radial, radial_hidden
        As of `PotentialConfig`.
    max_l : int
        Highest degree of the features between the layers.
    max_ell : int
        Highest degree of the edge harmonics.
    correlation : int
        Neighbours of an atom that meet in a feature.
    readout : int
        Hidden width of the last readout.
    avg_neighbors, energy_scale, reference_energies
        As of `PotentialConfig`.
    """

    elements: tuple[int, ...]
    cutoff: float = 5.0
    channels: int = 32
    max_l: int = 0
    max_ell: int = 2
    layers: int = 2
    correlation: int = 2
    n_radial: int = 8
    radial_hidden: tuple[int, ...] = (32, 32)
    readout: int = 16
    avg_neighbors: float = 15.0
    energy_scale: float = 1.0
    reference_energies: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        freeze(self, "elements", "radial_hidden", "reference_energies")
        check_elements(self.elements)
        energies, n = self.reference_energies, len(self.elements)
        check_one_each(energies, "reference energies", n, "elements")


class Mace(nn.Module):
    """Energies of atoms by MACE [1]_.

    Parameters
    ----------
    config : MaceConfig or nn.Module
        Shape of a ScaleShiftMACE, or an instance of mace-torch, which is copied.
    backend : str
        Kernels that replace those of e3nn, see `equicalc.kernels.patch`.

    Raises
    ------
    ImportError
        If mace-torch is missing.

    References
    ----------
    .. [1] Batatia et al., "MACE: Higher order equivariant message passing neural
       networks for fast and accurate force fields", NeurIPS 35, 11423 (2022).
    """

    def __init__(self, config: MaceConfig | nn.Module, backend: str = "auto") -> None:
        super().__init__()
        built = isinstance(config, MaceConfig)
        self.network = _scale_shift_mace(config) if built else copy.deepcopy(config)
        # not a submodule: its parameters are those of the network once more
        self.__dict__["config"] = config
        patch(self.network, backend)
        buffers = dict(self.network.named_buffers())
        self.cutoff = float(buffers["r_max"])
        self.elements = tuple(buffers["atomic_numbers"].tolist())
        self.species = SpeciesIndex(self.elements)
        self.reference_energies = config.reference_energies if built else ()

    def forward(
        self, graph: Data, vectors: Tensor | None = None
    ) -> Mapping[str, Tensor]:
        """Evaluate a batch as `Potential.forward` does, for ``energies`` alone."""
        dtype = next(self.network.parameters()).dtype
        vectors = edge_vectors(graph) if vectors is None else vectors
        species = self.species(graph["z"])
        attributes = nn.functional.one_hot(species, len(self.elements)).to(dtype)
        n_graphs = len(graph["ptr"]) - 1
        # MACE's vectors run from the sender to the receiver; without positions its
        # shifts are the vectors
        data = {
            "positions": vectors.new_zeros(len(species), 3, dtype=dtype),
            "shifts": -vectors.to(dtype),
            "unit_shifts": graph["edge_shift"].to(dtype),
            "cell": vectors.new_zeros(3 * n_graphs, 3, dtype=dtype),
            "edge_index": graph["edge_index"],
            "node_attrs": attributes,
            "batch": graph["batch"],
            "ptr": graph["ptr"],
            "head": torch.zeros_like(graph["ptr"][1:]),
        }
        energies = self.network(data, compute_force=False)["node_energy"].double()
        if self.reference_energies:
            reference = torch.tensor(self.reference_energies, dtype=torch.float64)
            energies = energies + reference.to(energies.device)[species]
        return {"energies": energies}


def require_mace() -> Any:
    """Return the package mace, which warns and reads its own files when imported.

    Raises
    ------
    ImportError
        If it is missing.
    """
    try:
        with torch.serialization.safe_globals([slice]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mace.modules
    except ImportError as error:
        raise ImportError(
            f'MACE models need mace-torch ({error}): pip install "equicalc[mace]"'
        ) from error
    return mace


def _scale_shift_mace(config: MaceConfig) -> nn.Module:
    """Build mace-torch's network in single precision; reference energies stay out."""
    modules = require_mace().modules
    hidden = " + ".join(
        f"{config.channels}x{l}{'eo'[l % 2]}" for l in range(config.max_l + 1)
    )
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    first = modules.interaction_classes["RealAgnosticInteractionBlock"]
    with _single_precision(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript's end is near
        return modules.ScaleShiftMACE(
            r_max=config.cutoff,
            num_bessel=config.n_radial,
            num_polynomial_cutoff=5,
            max_ell=config.max_ell,
            interaction_cls=block,
            interaction_cls_first=first,
            num_interactions=config.layers,
            num_elements=len(config.elements),
            hidden_irreps=o3.Irreps(hidden),
            MLP_irreps=o3.Irreps(f"{config.readout}x0e"),
            gate=nn.functional.silu,
            atomic_energies=torch.zeros(len(config.elements)).numpy(),
            avg_num_neighbors=config.avg_neighbors,
            atomic_numbers=list(config.elements),
            correlation=config.correlation,
            radial_MLP=list(config.radial_hidden),
            atomic_inter_scale=config.energy_scale,
            atomic_inter_shift=0.0,
        )


@contextmanager
def _single_precision() -> Iterator[None]:
    """MACE takes its precision from torch's default."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
