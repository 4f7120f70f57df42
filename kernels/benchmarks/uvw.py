"""Time and memory of the fully connected convolution: re-associated, and e3nn's.

The convolution of the EquiTriton study: features of l = 0..L times harmonics to
l = 0..L, weights from a perceptron for every path and pair of channels. e3nn needs them
for every edge, ours never makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from equicalc.kernels.convolution import Adjacency, UVWConvolution

from .peers import natural
from .report import device_name, print_table, write_results
from .timing import STEPS, check_steps, medians, step_function

SHAPES = ((1, 16), (2, 32))  # (L, channels)
N_NODES, EDGES_PER_NODE, HIDDEN = 25, 40, 64
CHECKED = 2  # nodes, where all derivatives are compared
TOLERANCE = 1e-4  # float32, relative to the largest value

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """A convolution of random inputs on random edges."""

    l_max: int
    channels: int
    device: str
    n_nodes: int = N_NODES

    @property
    def ls(self) -> tuple[int, ...]:
        return tuple(range(self.l_max + 1))

    def inputs(self, seed: int) -> list[Tensor]:
        """Features, harmonics, hidden features and matrix."""
        generator = torch.Generator().manual_seed(seed)
        dim, n_edges = (self.l_max + 1) ** 2, self.n_nodes * EDGES_PER_NODE
        n_weights = self.module().n_weights
        shapes = (
            (self.n_nodes, dim, self.channels),
            (n_edges, dim),
            (n_edges, HIDDEN),
            (HIDDEN, n_weights),
        )
        return [torch.randn(s, generator=generator).to(self.device) for s in shapes]

    def adjacency(self) -> Adjacency:
        generator = torch.Generator().manual_seed(0)
        ends = torch.randint(
            self.n_nodes, (2, self.n_nodes * EDGES_PER_NODE), generator=generator
        )
        src, dst = ends.to(self.device)
        return Adjacency.from_edges(src, dst.sort().values, self.n_nodes)

    def module(self) -> UVWConvolution:
        return UVWConvolution(self.ls, self.ls, self.ls, self.channels, self.channels)

    def contenders(self) -> dict[str, Function]:
        """Functions of the inputs."""
        module, adj = self.module(), self.adjacency()
        plain = self._plain(module, adj)
        return {"equicalc": lambda *inputs: module(*inputs, adj), "e3nn": plain}

    def _plain(self, module: UVWConvolution, adj: Adjacency) -> Function:
        """Weights for every edge, e3nn's tensor product, and a sum."""
        from e3nn.o3 import FullyConnectedTensorProduct

        ls, C = self.ls, self.channels
        product = FullyConnectedTensorProduct(
            natural(ls, C), natural(ls, 1), natural(ls, C), shared_weights=False
        ).to(self.device)
        paths = cast("list[Any]", product.instructions)
        order = [
            module.paths.couplings.index((ls[p.i_in1], ls[p.i_in2], ls[p.i_out]))
            for p in paths
        ]

        def function(x: Tensor, y: Tensor, hidden: Tensor, matrix: Tensor) -> Tensor:
            blocks = x.split([2 * l + 1 for l in ls], 1)
            flat = torch.cat([block.mT.flatten(1) for block in blocks], 1)
            ordered = matrix.unflatten(1, (-1, C * C))[:, order].flatten(1)
            messages = product.to(x.dtype)(flat[adj.src], y, hidden @ ordered)
            out = messages.new_zeros(len(x), messages.shape[1])
            out = out.index_add(0, adj.dst, messages)
            blocks = out.split([C * (2 * l + 1) for l in ls], 1)
            return torch.cat([b.unflatten(1, (C, -1)).mT for b in blocks], 1)

        return function


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes on the CPU at once that torch allocated during a run."""
    with torch.profiler.profile(profile_memory=True) as profile:
        run()
    events = cast(Any, profile.profiler).kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    return max(accumulate(size for _, size in sorted(changes)), default=0)


def check(case: Case) -> None:
    """Compare the two, all derivatives in float64 included."""
    inputs, v = case.inputs(1), case.inputs(2)
    what = f"uvw convolution, L {case.l_max}"
    ours, plain = case.contenders().values()
    check_steps(what, (ours, plain), inputs, torch.randn_like(inputs[0]), v, TOLERANCE)


def measure(case: Case, rounds: int) -> list[dict]:
    """Median microseconds per edge of every contender and step, and memory."""
    check(replace(case, n_nodes=CHECKED))
    inputs, v = case.inputs(1), case.inputs(2)
    g = torch.randn_like(inputs[0])
    functions = case.contenders()
    runs = {
        (name, title): step_function(function, step, inputs, g, v)
        for step, title in enumerate(STEPS[:2])
        for name, function in functions.items()
    }
    n_edges = len(inputs[1])
    return [
        {
            "l_max": case.l_max,
            "channels": case.channels,
            "n_edges": n_edges,
            "contender": name,
            "step": step,
            "us_per_edge": round(time_s / n_edges * 1e6, 3),
            "kb_per_edge": round(peak_bytes(runs[name, step]) / n_edges * 1e-3, 1),
        }
        for (name, step), time_s in medians(runs, case.device, rounds).items()
    ]


def run(device: str, out: Path, rounds: int) -> None:
    """Measure, print a table and save it; memory is that of a CPU."""
    rows = [row for s in SHAPES for row in measure(Case(*s, device), rounds)]
    table = [list(row.values()) for row in rows]
    print_table(f"uvw convolution, {device_name(device)}", list(rows[0]), table)
    write_results(out, rows, device)
