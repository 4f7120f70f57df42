"""Data: structures and labels from files, packed for training, given out as graphs.

The names below load on first use, so that making structures needs no torch.
"""

from typing import TYPE_CHECKING

from equicalc._lazy import lazy_names

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

__getattr__ = lazy_names(
    __name__,
    {
        "PackedDataset": "equicalc.data.packed",
        "atoms_to_graph": "equicalc.data.atoms",
        "atoms_to_record": "equicalc.data.atoms",
        "open_dataset": "equicalc.data.readers",
        "pack": "equicalc.data.packing",
        "read_structures": "equicalc.data.readers",
        "write_packed": "equicalc.data.packing",
    },
)
