"""A quick look at a generator while it is trained."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from .builder import Builder
from .metrics.evaluation import evaluate_molecules
from .metrics.validity import RADII_2023

if TYPE_CHECKING:
    from torch import nn

    from equicalc.models import Generator

__all__ = ["quick_check"]

logger = logging.getLogger(__name__)

#: What goes into the log, percent.
SHOWN = ("validity", "uniqueness", "molecule_stability")


def quick_check(
    n: int = 64, seed: int = 0
) -> Callable[[nn.Module], dict[str, float]] | None:
    """Return a check for `equicalc.training.train`: validity of some molecules.

    Parameters
    ----------
    n
        Molecules to make at every validation, at the default temperatures.
    seed
        Of the molecules, the same ones every time.

    Returns
    -------
    callable or None
        None where RDKit is missing. For models with other elements than those of
        `valid_molecule` it says nothing.
    """
    if find_spec("rdkit") is None:
        logger.warning("RDKit is missing: validity is not checked during training")
        return None

    def check(model: nn.Module) -> dict[str, float]:
        generator = cast("Generator", model)
        if unknown := set(generator.elements) - RADII_2023.keys():
            logger.warning("validity is not defined for elements %s", sorted(unknown))
            return {}
        molecules = Builder(generator).generate(n, seed)
        table = evaluate_molecules(molecules)
        return {name: table[name] for name in SHOWN}

    return check
