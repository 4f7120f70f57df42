"""Labelled crystals on disk: graphs and energies, a file for each molecule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from equicalc.models.lattice_graph import LatticeGraph

SMALLER = {torch.float64: torch.float32, torch.int64: torch.int32}


@dataclass
class Labelled:
    """A crystal with its interaction energy.

    Attributes
    ----------
    number
        Of the molecule: folder and file.
    copy
        Whether it is a packing that was moved afterwards.
    graph
    energy
        kJ/mol per molecule.
    method
        What made the label.
    """

    number: str
    copy: bool
    graph: LatticeGraph
    energy: float
    method: str

    def sample(self) -> tuple[LatticeGraph, Tensor]:
        """Graph and energy."""
        return self.graph, torch.tensor([self.energy], dtype=torch.float32)


def write_labelled(path: Path, crystals: Sequence[Labelled]) -> None:
    """Write the crystals of a molecule, the file whole or not at all."""
    tensors = {
        f"{row}.{name}": column.to(SMALLER.get(column.dtype, column.dtype))
        for row, one in enumerate(crystals)
        for name, column in one.graph.columns().items()
    }
    tensors["energies"] = torch.tensor([one.energy for one in crystals])
    tensors["copies"] = torch.tensor([one.copy for one in crystals])
    part = path.with_suffix(".part")
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        part,
        metadata={"method": crystals[0].method if crystals else ""},
    )
    part.replace(path)


def read_labelled(folder: Path) -> list[Labelled]:
    """Read all crystals of a folder."""
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            method = file.metadata()["method"]
        for row, energy in enumerate(tensors["energies"].tolist()):
            columns = {
                name.partition(".")[2]: value.long()
                if value.dtype == torch.int32
                else value
                for name, value in tensors.items()
                if name.startswith(f"{row}.")
            }
            graph, copy = LatticeGraph(**columns), bool(tensors["copies"][row])
            number = str(path.with_suffix(""))
            found.append(Labelled(number, copy, graph, energy, method))
    return found
