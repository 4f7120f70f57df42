"""Crystals as the published perceptron sees them, `equicalc.models.LatticePaper`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .embeddings import in_standard_setting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from .crystal import MolecularCrystal
    from .embeddings import Embedding

__all__ = ["molecule_inputs", "paper_inputs"]


def molecule_inputs(
    molecules: Sequence[Atoms], embedding: Embedding
) -> NDArray[np.float64]:
    """Numbers (n, m + 3 k) of posed molecules: scalars, then vectors."""
    vectors = embedding.encode(molecules).reshape(len(molecules), -1)
    return np.concatenate([embedding.scalars(molecules), vectors], axis=1)


def paper_inputs(
    crystals: Sequence[MolecularCrystal], embeddings: Sequence[Embedding]
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Describe crystals with one independent molecule for the perceptron.

    Returns
    -------
    molecules
        `molecule_inputs` with each embedding, of the molecules as they are posed in the
        standard setting.
    parameters : (n, 12)
        See `MolecularCrystal.parameters`.
    """
    _, molecules, parameters = in_standard_setting(crystals)
    inputs = [molecule_inputs(molecules, embedding) for embedding in embeddings]
    return inputs, parameters
