"""Structures as vectors: what a trained network knows about atoms and molecules.

The names below load on first use, so that the transformer needs scikit-learn only
where it is used.
"""

from typing import TYPE_CHECKING

from equicalc._lazy import lazy_names

if TYPE_CHECKING:
    from equicalc.embedding.embedder import Embedder
    from equicalc.embedding.files import write_embedding
    from equicalc.embedding.similarity import Nearest, SimilarityIndex
    from equicalc.embedding.transformer import EmbeddingTransformer

__all__ = [
    "Embedder",
    "EmbeddingTransformer",
    "Nearest",
    "SimilarityIndex",
    "write_embedding",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Embedder": "equicalc.embedding.embedder",
        "EmbeddingTransformer": "equicalc.embedding.transformer",
        "Nearest": "equicalc.embedding.similarity",
        "SimilarityIndex": "equicalc.embedding.similarity",
        "write_embedding": "equicalc.embedding.files",
    },
)
