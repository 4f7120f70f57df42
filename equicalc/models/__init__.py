"""Networks, built by name from plain configurations."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from equicalc.models.analytic import AnalyticPotential
from equicalc.models.compiled import CompiledForces, compile_forces
from equicalc.models.equitriton import EquiTriton, EquiTritonConfig
from equicalc.models.evaluate import evaluate
from equicalc.models.generator import Generator, GeneratorConfig
from equicalc.models.head import Head, HeadConfig
from equicalc.models.known_taps import taps_of
from equicalc.models.lattice import LatticeConfig, LatticeNetwork
from equicalc.models.lattice_paper import LatticePaper, LatticePaperConfig
from equicalc.models.mace import Mace, MaceConfig
from equicalc.models.mo3enet import Mo3ENet
from equicalc.models.mo3enet_config import Mo3ENetConfig
from equicalc.models.potential import Potential, PotentialConfig
from equicalc.models.property_network import PropertyNetwork, TargetConfig
from equicalc.models.property_pruning import pruned
from equicalc.models.qm9net import QM9Net, QM9NetConfig
from equicalc.models.replayed import ReplayedPotential
from equicalc.models.symphony import Symphony, SymphonyConfig
from equicalc.models.symphony_paper import SymphonyPaper, SymphonyPaperConfig
from equicalc.models.taps import Tap, Taps

#: Name in checkpoints and configurations -> (configuration, network).
MODELS = {
    "equitriton": (EquiTritonConfig, EquiTriton),
    "head": (HeadConfig, Head),
    "lattice": (LatticeConfig, LatticeNetwork),
    "lattice-paper": (LatticePaperConfig, LatticePaper),
    "mace": (MaceConfig, Mace),
    "mo3enet": (Mo3ENetConfig, Mo3ENet),
    "potential": (PotentialConfig, Potential),
    "qm9net": (QM9NetConfig, QM9Net),
    "symphony": (SymphonyConfig, Symphony),
    "symphony-paper": (SymphonyPaperConfig, SymphonyPaper),
}


def build_model(
    name: str, config: Mapping[str, Any], backend: str = "auto"
) -> nn.Module:
    """Build a network with random weights.

    Parameters
    ----------
    name : str
        Key of `MODELS`.
    config : mapping
        Fields of the network's configuration.
    backend : str
        Kernel backend, see `Potential`.

    Raises
    ------
    ValueError
        If the name is unknown or the configuration does not fit it.

    Examples
    --------
    >>> build_model("potential", {"elements": [1, 8], "channels": 4}).cutoff
    5.0
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; choose from {sorted(MODELS)}")
    config_type, model_type = MODELS[name]
    try:
        settings = config_type(**config)
    except TypeError as error:
        raise ValueError(f"configuration of {name!r}: {error}") from error
    return model_type(settings, backend)


__all__ = [
    "MODELS",
    "AnalyticPotential",
    "CompiledForces",
    "EquiTriton",
    "EquiTritonConfig",
    "Generator",
    "GeneratorConfig",
    "Head",
    "HeadConfig",
    "LatticeConfig",
    "LatticeNetwork",
    "LatticePaper",
    "LatticePaperConfig",
    "Mace",
    "MaceConfig",
    "Mo3ENet",
    "Mo3ENetConfig",
    "Potential",
    "PotentialConfig",
    "PropertyNetwork",
    "QM9Net",
    "QM9NetConfig",
    "ReplayedPotential",
    "Symphony",
    "SymphonyConfig",
    "SymphonyPaper",
    "SymphonyPaperConfig",
    "Tap",
    "Taps",
    "TargetConfig",
    "build_model",
    "compile_forces",
    "evaluate",
    "pruned",
    "taps_of",
]
