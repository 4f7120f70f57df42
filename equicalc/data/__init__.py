"""Data: structures and labels from files, packed for training, given out as graphs."""

from equicalc.data.packed import PackedDataset
from equicalc.data.packing import pack, write_packed

__all__ = ["PackedDataset", "pack", "write_packed"]
