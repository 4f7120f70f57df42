"""PoseBusters: whether the geometry of valid molecules is physical."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["TESTS", "has_posebusters", "pose_checks", "posebusters_version"]

#: Columns of the literature, in its order.
TESTS = (
    "connected",
    "angles",
    "lengths",
    "ring_flatness",
    "double_bond_flatness",
    "energy",
    "clash",
)
CONFIG = Path(__file__).with_name("posebusters_2023.yaml")


def has_posebusters() -> bool:
    """Whether PoseBusters is installed."""
    from importlib.util import find_spec

    return find_spec("posebusters") is not None


def posebusters_version() -> str:
    """Return the version of PoseBusters."""
    return version("posebusters")


def pose_checks(molecules: Sequence[Mol]) -> dict[str, float]:
    """Return how many molecules pass each test of PoseBusters, in percent.

    The thresholds are those of 2023. A test that cannot be carried out (the energy of
    a molecule that has no conformers, say) counts as not passed.

    Parameters
    ----------
    molecules
        With bonds and positions, see `equicalc.generators.metrics.valid_molecule`.

    Returns
    -------
    dict
        By the names in `TESTS`.

    Raises
    ------
    ImportError
        If PoseBusters is missing.
    ValueError
        If there are no molecules.

    References
    ----------
    .. [1] Buttenschoen, Morris, Deane, "PoseBusters: AI-based docking methods fail to
       generate physically valid poses or generalise to novel sequences", Chem. Sci.
       15, 3130 (2024).
    """
    if not molecules:
        raise ValueError("there are no valid molecules to check")
    try:
        from posebusters import PoseBusters
    except ImportError as error:
        raise ImportError(
            'PoseBusters is missing: pip install "equicalc[metrics]"'
        ) from error
    import yaml
    from rdkit import rdBase

    config = yaml.safe_load(CONFIG.read_text())
    with rdBase.BlockLogs():
        table = PoseBusters(config).bust(list(molecules), None, None)
    passed = table[list(TESTS)] == True  # noqa: E712 (not done is NaN or None)
    return {name: 100 * float(passed[name].mean()) for name in TESTS}
