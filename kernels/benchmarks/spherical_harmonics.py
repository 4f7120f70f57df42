"""Time of spherical harmonics per vector: ours, e3nn and sphericart.

Three steps of training, each with the ones before it: Y; the gradient of g . Y with
respect to the vectors; the gradient of v . that with respect to the vectors and g. The
contenders take turns in one process on one thread; nothing is timed whose values or
gradients disagree with e3nn in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from equicalc import o3
from equicalc.kernels import SphericalHarmonics
from equicalc.kernels.spherical_harmonics import cpp_kernels
from equicalc.kernels.spherical_harmonics.harmonics import Harmonics

from .report import device_name, peaks, print_table, write_results
from .timing import STEPS, check_steps, medians, step_function

SETS = ((0, 1, 2), (0, 1, 2, 3, 4), tuple(range(11)), (0, 3, 4, 5, 6))
SIZES = {"cpu": (10_000,), "cuda": (1_000_000, 160_000)}
TOLERANCE = 1e-4  # float32, relative to the largest value

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Bar:
    """`ours` must be `factor` times as fast as `peer` in each step."""

    ours: str
    peer: str
    factors: tuple[float, float, float]
    ls: tuple[int, ...] = SETS[2]


BARS = {
    "cpu": [
        Bar("equicalc cpp", "sphericart", (1.2, 5.0, 20.0)),
        Bar("equicalc cpp", "e3nn", (9.0, 17.0, 40.0)),
        Bar("equicalc torch", "e3nn", (1.0, 1.0, 6.0)),
        Bar("equicalc torch", "e3nn", (1.0, 1.0, 1.0), SETS[1]),
        Bar("equicalc torch", "e3nn", (1.0, 1.0, 1.0), SETS[3]),
    ],
    "cuda": [Bar("equicalc triton", "sphericart", (1.0, 8.0, 8.0))],
}
BOUND_BARS = {SETS[1]: (0.7, 0.6, 0.45), SETS[2]: (0.5, 0.5, 0.5)}


def contenders(ls: tuple[int, ...], device: str) -> dict[str, Function]:
    """Everything that is installed here, by name."""
    from e3nn.o3 import SphericalHarmonics as Reference

    backends = ["triton"] if device == "cuda" else []
    if device == "cpu" and cpp_kernels.available(
        Harmonics(ls, True, "component"), torch.float32
    ):
        backends = ["cpp"]
    result: dict[str, Function] = {
        f"equicalc {backend}": SphericalHarmonics(
            ls, True, normalization="component", backend=backend
        )
        for backend in [*backends, "torch"]
    }
    result["e3nn"] = Reference(list(ls), True, normalization="component")
    try:
        import sphericart.torch as sphericart
    except ImportError:
        return result
    calculator = sphericart.SphericalHarmonics(max(ls))
    result["sphericart"] = calculator.compute
    return result


def to_convention(name: str, ls: tuple[int, ...], y: Tensor) -> Tensor:
    """Select and scale what sphericart computes: all l, ``integral``."""
    if name != "sphericart":
        return y
    columns = [k for l in ls for k in range(l * l, (l + 1) ** 2)]
    return y[:, columns] * (4 * torch.pi) ** 0.5


def check(
    name: str, function: Function, ls: tuple[int, ...], x: Tensor, g: Tensor, v: Tensor
) -> None:
    """Compare the three steps with e3nn in float64 on a few vectors."""

    def reference(t: Tensor) -> Tensor:
        return o3.spherical_harmonics(list(ls), t, True, "component")

    def ours(t: Tensor) -> Tensor:
        turned = t[:, [2, 0, 1]].contiguous() if name == "sphericart" else t
        return to_convention(name, ls, function(turned))

    what = f"{name}, l = {list(ls)}"
    check_steps(what, (ours, reference), [x[:200]], g[:200], [v[:200]], TOLERANCE)


def measure(ls: tuple[int, ...], n: int, device: str, rounds: int) -> list[dict]:
    """Median nanoseconds per vector of every contender and step."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=generator).to(device)
    v = torch.randn(n, 3, generator=generator).to(device)
    runs = {}
    for name, function in contenders(ls, device).items():
        g = torch.randn(n, sum(2 * l + 1 for l in ls), generator=generator).to(device)
        check(name, function, ls, x, g, v)
        if name == "sphericart":  # timed as it comes: all l, its own order and scale
            g = torch.randn(n, (max(ls) + 1) ** 2, generator=generator).to(device)
        for step, title in enumerate(STEPS):
            runs[name, title] = step_function(function, step, [x], g, [v])
    return [
        {
            "ls": " ".join(map(str, ls)),
            "n": n,
            "dtype": "float32",
            "contender": name,
            "step": step,
            "ns_per_vector": round(time_s / n * 1e9, 4),
        }
        for (name, step), time_s in medians(runs, device, rounds).items()
    ]


def bytes_bound(ls: tuple[int, ...], step: int) -> int:
    """Bytes per vector that a step has to move (float32)."""
    dim = sum(2 * l + 1 for l in ls)
    return sum((12 + 4 * dim, 24 + 4 * dim, 36 + 8 * dim)[: step + 1])


def verdicts(rows: list[dict], device: str) -> list[list[str]]:
    """Each bar with what was measured."""
    n = SIZES[device][0]
    times = {
        (tuple(map(int, r["ls"].split())), r["contender"], r["step"]): r[
            "ns_per_vector"
        ]
        for r in rows
        if r["n"] == n
    }
    result = []
    for bar in BARS[device]:
        for step, factor in zip(STEPS, bar.factors, strict=True):
            ours = times.get((bar.ls, bar.ours, step))
            peer = times.get((bar.ls, bar.peer, step))
            what = f"{bar.ours} / {bar.peer}, l = {bar.ls}, {step}"
            if ours and peer:
                met = "met" if peer / ours >= factor else "not met"
                result.append([what, f"{peer / ours:.1f}x", f">= {factor:g}x", met])
    if peak := peaks(device):
        for ls, fractions in BOUND_BARS.items():
            for k, (step, fraction) in enumerate(zip(STEPS, fractions, strict=True)):
                time_ns = times[ls, "equicalc triton", step]
                reached = bytes_bound(ls, k) / peak[0] * 1e9 / time_ns
                met = "met" if reached >= fraction else "not met"
                what = f"share of the bandwidth, l = {ls}, {step}"
                result.append([what, f"{reached:.0%}", f">= {fraction:.0%}", met])
    return result


def run(device: str, out: Path, rounds: int) -> None:
    """Measure, print tables and save them."""
    rows = [
        row
        for n in SIZES[device]
        for ls in SETS
        for row in measure(ls, n, device, rounds)
    ]
    names = list(dict.fromkeys(row["contender"] for row in rows))
    table = []
    for n in SIZES[device]:
        for ls in SETS:
            text = " ".join(map(str, ls))
            cells = {
                name: " / ".join(
                    f"{row['ns_per_vector']:.3g}"
                    for row in rows
                    if (row["ls"], row["n"], row["contender"]) == (text, n, name)
                )
                for name in names
            }
            table.append([text, n, *cells.values()])
    title = f"Nanoseconds per vector, {device_name(device)}: {' / '.join(STEPS)}"
    print_table(title, ["l", "vectors", *names], table)
    print_table("Bars", ["what", "measured", "bar", ""], verdicts(rows, device))
    write_results(out, rows, device)
