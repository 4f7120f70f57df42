"""Structures as vectors: what a trained network knows about atoms and molecules.

The names below load on first use, so that the transformer needs scikit-learn only
where it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

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

_LAZY = {
    "Embedder": "equicalc.embedding.embedder",
    "EmbeddingTransformer": "equicalc.embedding.transformer",
    "Nearest": "equicalc.embedding.similarity",
    "SimilarityIndex": "equicalc.embedding.similarity",
    "write_embedding": "equicalc.embedding.files",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'equicalc.embedding' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
