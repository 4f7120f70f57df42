"""Data: structures and labels from files, packed for training, given out as graphs."""

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
