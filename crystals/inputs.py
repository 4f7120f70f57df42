"""What the two kinds of lattice-energy networks are given of crystals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from equicalc.models import (
    LatticeConfig,
    LatticeNetwork,
    LatticePaper,
    LatticePaperConfig,
)

from .embeddings import named_embedding
from .errors import ParametersError, UnknownElementError
from .graphs import lattice_graph
from .paper import paper_inputs

if TYPE_CHECKING:
    from equicalc.models.lattice_graph import LatticeGraph

    from .crystal import MolecularCrystal

__all__ = ["Network", "NetworkConfig", "network_inputs", "require_known"]

Network = LatticeNetwork | LatticePaper
NetworkConfig = LatticeConfig | LatticePaperConfig


def network_inputs(
    crystals: Sequence[MolecularCrystal],
    config: NetworkConfig,
    dtype: torch.dtype = torch.float32,
) -> LatticeGraph | torch.Tensor:
    """Describe crystals for a network.

    Parameters
    ----------
    crystals
        Any that `require_known` lets pass.
    config
        Of the network.
    dtype
        Of the real numbers.

    Returns
    -------
    LatticeGraph or tensor (n, n_inputs)
        Sites and pairs for a `LatticeNetwork`; the numbers of the embedding and the 12
        parameters for a `LatticePaper`.
    """
    if isinstance(config, LatticeConfig):
        return lattice_graph(crystals, config.cutoff, dtype)
    (numbers,), parameters = paper_inputs(crystals, [named_embedding(config.embedding)])
    return torch.as_tensor(np.hstack([numbers, parameters]), dtype=dtype)


def require_known(crystal: MolecularCrystal, config: NetworkConfig) -> None:
    """Refuse crystals that a network is not for.

    Raises
    ------
    UnknownElementError
        With the first element that the network has not seen.
    ParametersError
        If it is a `LatticePaper` and several molecules are independent, or the space
        group is another one.
    """
    from ase.data import chemical_symbols

    unknown = set(crystal.molecules[0].numbers.tolist()) - set(config.elements)
    if unknown:
        known = ", ".join(chemical_symbols[z] for z in config.elements)
        raise UnknownElementError(
            f"the predictor does not know {chemical_symbols[min(unknown)]}; it "
            f"knows {known}"
        )
    if isinstance(config, LatticePaperConfig):
        crystal.require_one_molecule()
        if crystal.spacegroup != config.spacegroup:
            raise ParametersError(
                f"the crystal has space group {crystal.spacegroup}, and this predictor "
                f"is for {config.spacegroup}: its 12 parameters do not tell groups "
                "apart"
            )
