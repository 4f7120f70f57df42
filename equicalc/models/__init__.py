"""Networks, built by name from plain configurations."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from equicalc.models.analytic import AnalyticPotential
from equicalc.models.evaluate import evaluate
from equicalc.models.head import Head, HeadConfig
from equicalc.models.mo3enet import Mo3ENet
from equicalc.models.mo3enet_config import Mo3ENetConfig
from equicalc.models.potential import Potential, PotentialConfig
from equicalc.models.symphony import Symphony, SymphonyConfig

#: Name in checkpoints and configurations -> (configuration, network).
MODELS = {
    "head": (HeadConfig, Head),
    "mo3enet": (Mo3ENetConfig, Mo3ENet),
    "potential": (PotentialConfig, Potential),
    "symphony": (SymphonyConfig, Symphony),
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
    "Head",
    "HeadConfig",
    "Mo3ENet",
    "Mo3ENetConfig",
    "Potential",
    "PotentialConfig",
    "Symphony",
    "SymphonyConfig",
    "build_model",
    "evaluate",
]
