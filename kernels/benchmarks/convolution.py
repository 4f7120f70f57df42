"""Time of the uvu convolution per edge: ours, e3nn and the fused kernels of others.

The convolution as NequIP and MACE use it: features of l = 0..L times harmonics of
l = 0..L to l = 0..L, weights per edge, summed at 40 edges a node. The contenders take
turns in one process; what disagrees with the definition in float64 is not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from equicalc import o3
from equicalc.kernels.convolution import Adjacency, UVUConvolution, uvu_reference
from equicalc.kernels.convolution.paths import Paths, coupling_tensor

from .peers import fused_peers, uvu_product
from .plots import can_plot, plot_roofline
from .report import device_name, peaks, print_table, write_results
from .timing import STEPS, check_steps, medians, step_function

SHAPES = ((2, 32), (3, 64))  # (L, channels)
EDGES = {"cpu": (10_000,), "cuda": (160_000, 1_000_000)}
EDGES_PER_NODE = 40
TOLERANCE = 1e-4  # float32, relative to the largest value

Inputs = tuple[Tensor, Tensor, Tensor]  # features, harmonics, weights
Function = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A convolution, its edges and, between e3nn's layout and ours, the columns."""

    l_max: int
    channels: int
    n_edges: int
    device: str

    @property
    def ls(self) -> tuple[int, ...]:
        return tuple(range(self.l_max + 1))

    @property
    def paths(self) -> Paths:
        return Paths.between(self.ls, self.ls, self.ls)

    def edges(self) -> tuple[Tensor, Tensor, int]:
        """Senders at random, receivers in order, number of nodes."""
        n_nodes = max(self.n_edges // EDGES_PER_NODE, 1)
        generator = torch.Generator().manual_seed(0)
        src = torch.randint(n_nodes, (self.n_edges,), generator=generator)
        dst = torch.randint(n_nodes, (self.n_edges,), generator=generator).sort().values
        return src.to(self.device), dst.to(self.device), n_nodes

    def tensors(self, n_nodes: int, seed: int) -> Inputs:
        """Random features, harmonics and weights in our layout."""
        generator = torch.Generator().manual_seed(seed)
        dim, paths = (self.l_max + 1) ** 2, len(self.paths.couplings)
        shapes = (
            (n_nodes, dim, self.channels),
            (self.n_edges, dim),
            (self.n_edges, paths, self.channels),
        )
        x, y, w = (torch.randn(s, generator=generator) for s in shapes)
        return x.to(self.device), y.to(self.device), w.to(self.device)

    def product(self) -> o3.TensorProduct:
        """e3nn's tensor product for one edge."""
        return uvu_product(self.ls, self.ls, self.ls, self.channels).to(self.device)

    def columns(self) -> tuple[Tensor, Tensor]:
        """Columns of our features and output, flattened, in e3nn's order."""
        C = torch.arange(self.channels).unsqueeze(1)
        first = [range(l * l, (l + 1) ** 2) for l in self.ls]
        blocks = (first, self.paths.row_of)
        x, out = (
            torch.cat([(torch.tensor(list(r)) * len(C) + C).flatten() for r in rows])
            for rows in blocks
        )
        return x.to(self.device), out.to(self.device)


def summed(product: Callable[..., Tensor], src: Tensor, dst: Tensor) -> Function:
    """Product of each edge, then a sum at the receivers."""

    def function(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        messages = product(x[src], y, w)
        return x.new_zeros(len(x), messages.shape[1]).index_add(0, dst, messages)

    return function


def contenders(case: Case) -> tuple[dict[str, Function], dict[str, Function]]:
    """Functions in our layout, and functions in e3nn's."""
    src, dst, n_nodes = case.edges()
    adj = Adjacency.from_edges(src, dst, n_nodes)
    ours: dict[str, Function] = {}
    for backend in ("auto", "torch"):
        module = UVUConvolution(case.ls, case.ls, case.ls, backend=backend)
        ours[f"equicalc {backend}"] = lambda x, y, w, m=module: m(x, y, w, adj)
    product = case.product()
    theirs = {"e3nn": summed(product, src, dst)}
    theirs |= fused_peers(product, src, dst, case.device)
    return ours, theirs


def measure(case: Case, rounds: int) -> list[dict]:
    """Median microseconds per edge of every contender and step."""
    check(Case(case.l_max, case.channels, 400, case.device))
    *_, n_nodes = case.edges()
    inputs, v = case.tensors(n_nodes, 1), case.tensors(n_nodes, 2)
    g = torch.randn(n_nodes, case.paths.rows, case.channels, device=case.device)
    ours, theirs = contenders(case)
    columns, out_columns = case.columns()
    flat = [
        (x.flatten(1)[:, columns], y, w.flatten(1)) for x, y, w in (inputs, v)
    ]  # in e3nn's layout
    runs = {}
    for step, title in enumerate(STEPS):
        for name, function in ours.items():
            runs[name, title] = step_function(function, step, inputs, g, v)
        for name, function in theirs.items():
            flat_g = g.flatten(1)[:, out_columns]
            run = step_function(function, step, flat[0], flat_g, flat[1])
            runs[name, title] = run
    return [
        {
            "l_max": case.l_max,
            "channels": case.channels,
            "n_edges": case.n_edges,
            "dtype": "float32",
            "contender": name,
            "step": step,
            "us_per_edge": round(time_s / case.n_edges * 1e6, 4),
        }
        for (name, step), time_s in medians(runs, case.device, rounds).items()
    ]


def check(case: Case) -> None:
    """Compare all contenders with the definition in float64, three steps deep."""
    src, dst, n_nodes = case.edges()
    adj = Adjacency.from_edges(src, dst, n_nodes)
    inputs, v = case.tensors(n_nodes, 1), case.tensors(n_nodes, 2)
    g = torch.randn(n_nodes, case.paths.rows, case.channels, device=case.device)
    columns, out_columns = case.columns()

    def reference(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return uvu_reference(x, y, w, adj, case.paths)

    def in_our_layout(function: Function) -> Function:
        def turned(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
            out = function(x.flatten(1)[:, columns], y, w.flatten(1))
            return torch.zeros_like(out).index_copy(1, out_columns, out).view(g.shape)

        return turned

    ours, theirs = contenders(case)
    functions = ours | {k: in_our_layout(f) for k, f in theirs.items()}
    for name, function in functions.items():
        what = f"{name}, L {case.l_max}, {case.channels} channels"
        check_steps(what, (function, reference), inputs, g, v, TOLERANCE)


def work_per_edge(l_max: int, channels: int) -> tuple[float, float]:
    """Floating-point operations and bytes that a forward pass cannot avoid."""
    paths = Case(l_max, channels, 0, "cpu").paths
    operations = 0
    for l1, l2, l3 in paths.couplings:
        matrix = coupling_tensor(l1, l2, l3).abs().sum(1) > 1e-12  # (2l1+1, 2l3+1)
        operations += 2 * channels * (int(matrix.sum()) + 2 * l3 + 1)
    dim = (l_max + 1) ** 2
    numbers = channels * (dim + len(paths.couplings) + paths.rows / EDGES_PER_NODE)
    return operations, 4 * (numbers + dim) + 16  # and two indices


def roofline_points(rows: list[dict]) -> list[tuple[str, float, float]]:
    """Name, operations per byte and operations per second of the forward passes."""
    points = []
    for row in rows:
        if row["step"] == STEPS[0]:
            operations, size = work_per_edge(row["l_max"], row["channels"])
            name = f"{row['contender']}, L {row['l_max']}, {row['n_edges']} edges"
            speed = operations / (row["us_per_edge"] * 1e-6)
            points.append((name, operations / size, speed))
    return points


def run(device: str, out: Path, rounds: int) -> None:
    """Measure, print tables and save them."""
    rows = [
        row
        for n_edges in EDGES[device]
        for l_max, channels in SHAPES
        for row in measure(Case(l_max, channels, n_edges, device), rounds)
    ]
    times = {
        (r["n_edges"], r["l_max"], r["contender"], r["step"]): r["us_per_edge"]
        for r in rows
    }
    table = [
        [*key, f"{time:.3f}", f"{times[*key[:2], 'e3nn', key[3]] / time:.1f}x"]
        for key, time in times.items()
    ]
    title = f"Microseconds per edge, {device_name(device)}"
    print_table(title, ["edges", "L", "contender", "step", "us", "of e3nn"], table)
    write_results(out, rows, device)
    if can_plot() and (peak := peaks(device)):
        plot_roofline(roofline_points(rows), *peak, out.with_suffix(".png"))
