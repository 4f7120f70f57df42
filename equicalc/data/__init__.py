"""Data: structures and labels from files, packed for training, given out as graphs.

The names below load on first use, so that making structures needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from equicalc.data.atoms import atoms_to_graph, atoms_to_record
    from equicalc.data.packed import PackedDataset
    from equicalc.data.packing import pack, write_packed
    from equicalc.data.readers import open_dataset, read_structures

__all__ = [
    "PackedDataset",
    "atoms_to_graph",
    "atoms_to_record",
    "open_dataset",
    "pack",
    "read_structures",
    "write_packed",
]

_LAZY = {
    "PackedDataset": "equicalc.data.packed",
    "atoms_to_graph": "equicalc.data.atoms",
    "atoms_to_record": "equicalc.data.atoms",
    "open_dataset": "equicalc.data.readers",
    "pack": "equicalc.data.packing",
    "read_structures": "equicalc.data.readers",
    "write_packed": "equicalc.data.packing",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'equicalc.data' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
