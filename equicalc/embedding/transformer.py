"""Structures to feature vectors in a pipeline of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from equicalc.embedding.embedder import Embedder
from equicalc.embedding.features import Pooling, chosen_irreps

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils.validation import check_is_fitted
except ModuleNotFoundError as error:
    raise ImportError(
        'EmbeddingTransformer needs scikit-learn: pip install "equicalc[analysis]"'
    ) from error


class EmbeddingTransformer(TransformerMixin, BaseEstimator):
    """Describe molecules by the invariants of a network's features.

    Nothing is fitted: the network is trained already.

    Parameters
    ----------
    model : str or Path, optional
        As for `Embedder.from_pretrained`.
    irreps : sequence of str, optional
        Take the invariants of these only, ``["0e"]`` say, in this order; all by
        default, in the order of the network.
    pooling : str
        ``"mean"`` over the atoms, or ``"sum"`` for extensive properties.
    batch_size : int
        Structures at a time.
    device : str
        Where the network runs.

    Attributes
    ----------
    embedder_ : Embedder
        What `fit` loaded.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> regression = make_pipeline(EmbeddingTransformer("potential"), Ridge())
    >>> molecules = [molecule(name) for name in ("H2O", "CH4", "NH3")]
    >>> regression.fit(molecules, [18.0, 16.0, 17.0]).predict(molecules).shape
    (3,)
    """

    def __init__(
        self,
        model: str | Path | None = None,
        irreps: list[str] | None = None,
        pooling: Pooling = "mean",
        batch_size: int = 64,
        device: str = "auto",
    ) -> None:
        self.model = model
        self.irreps = irreps
        self.pooling: Pooling = pooling
        self.batch_size = batch_size
        self.device = device

    def fit(self, X: Iterable[Atoms] | None = None, y: Any = None) -> Self:
        """Load the network.

        Raises
        ------
        ValueError
            If it does not have one of the irreps, or none is asked for.
        """
        self.embedder_ = Embedder.from_pretrained(
            self.model,
            device=self.device,
            pooling=self.pooling,
            batch_size=self.batch_size,
        )
        self._chosen()
        return self

    def transform(self, X: Iterable[Atoms]) -> NDArray[np.floating]:
        """Return the invariants of structures, (n, n_features).

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        invariants = self.embedder_.invariants(X)
        return np.concatenate([invariants[n] for n in self._chosen()], axis=1)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name the columns: irrep and channel."""
        check_is_fitted(self)
        names = self.embedder_.feature_names(invariant=True)
        kept = [n for ir in self._chosen() for n in names if n.startswith(f"{ir}_")]
        return np.array(kept, dtype=object)

    def _chosen(self) -> list[str]:
        return chosen_irreps(self.embedder_.irreps, self.irreps)
