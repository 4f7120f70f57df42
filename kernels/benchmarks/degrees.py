"""Time of training by sets of degrees: our convolution against that of e3nn.

The graph-convolution network of EquiTriton with the two sets of degrees whose networks
have the same size. Equal results are checked before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from equicalc.models import EquiTriton, EquiTritonConfig

from .report import device_name, print_table, write_results
from .structures import batch_of_boxes
from .timing import check_close, medians

ELEMENTS = (1, 6, 7, 8, 9)
DEGREES = ((0, 1, 2), (0, 1, 2, 3, 4), (0, 3, 4, 5, 6))
CHANNELS = 16
BATCH, BATCH_ATOMS = 4, 18  # of QM9, the mean
TOLERANCE = 1e-4

Row = dict[str, object]


def networks(ls: tuple[int, ...], device: str) -> dict[str, EquiTriton]:
    """The same network with our kernels and with e3nn."""
    torch.manual_seed(0)
    config = EquiTritonConfig(elements=ELEMENTS, ls=ls, channels=CHANNELS)
    ours = EquiTriton(config).to(device)
    theirs = EquiTriton(config, backend="e3nn").to(device)
    theirs.load_state_dict(ours.state_dict())
    return {"equicalc": ours, "e3nn": theirs}


def training_step(model: nn.Module, graph: Data) -> list[Tensor]:
    """Gradients of a loss on the energies."""
    loss = model(graph)["values"].square().mean()
    return list(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))


def check(models: dict[str, EquiTriton], graph: Data) -> None:
    found, wanted = (model(graph)["values"].detach() for model in models.values())
    check_close("the network", found, wanted, TOLERANCE)


def rows(ls: tuple[int, ...], device: str, rounds: int) -> list[Row]:
    """Milliseconds of a training step, and microseconds for 1,000 parameters."""
    graph = batch_of_boxes(BATCH, BATCH_ATOMS, ELEMENTS).to(device)
    models = networks(ls, device)
    check(models, graph)
    runs: dict[str, Callable[[], object]] = {
        name: lambda m=model: training_step(m, graph) for name, model in models.items()
    }
    size = sum(p.numel() for p in models["equicalc"].parameters())
    return [
        {
            "ls": " ".join(map(str, ls)),
            "channels": CHANNELS,
            "parameters": size,
            "n_graphs": BATCH,
            "n_atoms": len(graph["z"]),
            "n_edges": graph["edge_index"].shape[1],
            "contender": name,
            "ms": round(1e3 * time_s, 1),
            "us_per_1000_parameters": round(1e9 * time_s / size, 1),
        }
        for name, time_s in medians(runs, device, rounds).items()
    ]


def run(device: str, out: Path, rounds: int) -> None:
    """Measure, print a table and save it."""
    table = [row for ls in DEGREES for row in rows(ls, device, rounds)]
    print_table(
        f"A training step, {device_name(device)}",
        list(table[0]),
        [list(row.values()) for row in table],
    )
    write_results(out, table, device)
