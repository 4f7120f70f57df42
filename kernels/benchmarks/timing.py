"""How all benchmarks time: one thread, contenders in turns, medians, checked first.

What is timed is a run whose memory and caches are its own: a few of the same go before.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

STEPS = ("forward", "forward + backward", "force step")
WARM = 3  # runs before each that is timed
LONG = 1.0  # seconds; what takes longer is run FEW times, without runs before each
FEW = 3

Key = TypeVar("Key", bound=Hashable)
Run = Callable[[], object]


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def seconds(run: Run, device: str) -> float:
    """Process time on a CPU, time between events on CUDA."""
    if device == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    run()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) * 1e-3


def medians(runs: Mapping[Key, Run], device: str, rounds: int) -> dict[Key, float]:
    """Seconds of each run; they take turns, warm ones."""
    for run in runs.values():
        run()  # compiled and profiled before the clock runs
    expected = {key: seconds(run, device) for key, run in runs.items()}
    times: dict[Key, list[float]] = {key: [] for key in runs}
    for round_ in range(rounds):
        for key, run in runs.items():
            for _ in range(WARM if expected[key] < LONG else 0):
                run()
            if expected[key] < LONG or round_ < FEW:
                times[key].append(seconds(run, device))
    return {key: statistics.median(values) for key, values in times.items()}


def step_function(
    function: Callable[..., Tensor],
    step: int,
    inputs: Sequence[Tensor],
    g: Tensor,
    v: Sequence[Tensor],
) -> Callable[[], tuple[Tensor, ...]]:
    """One of `STEPS`, each with the ones before it, as a function of nothing.

    The value; the gradient of g . value with respect to the inputs; the gradient of
    v . that with respect to the inputs and g.
    """
    inputs = [x.detach().clone().requires_grad_(step > 0) for x in inputs]
    g = g.detach().clone().requires_grad_(step > 1)

    def forward() -> tuple[Tensor, ...]:
        return (function(*inputs),)

    def backward() -> tuple[Tensor, ...]:
        return torch.autograd.grad(function(*inputs), inputs, g)

    def double_backward() -> tuple[Tensor, ...]:
        first = torch.autograd.grad(function(*inputs), inputs, g, create_graph=True)
        return torch.autograd.grad(first, (*inputs, g), v)

    return (forward, backward, double_backward)[step]


def check_steps(
    what: str,
    functions: tuple[Callable[..., Tensor], Callable[..., Tensor]],
    inputs: Sequence[Tensor],
    g: Tensor,
    v: Sequence[Tensor],
    tolerance: float,
) -> None:
    """Compare the steps of a function with those of its reference in float64."""
    for step, title in enumerate(STEPS):
        found = step_function(functions[0], step, inputs, g, v)()
        double = [t.double() for t in inputs], g.double(), [t.double() for t in v]
        wanted = step_function(functions[1], step, *double)()
        for a, b in zip(found, wanted, strict=True):
            check_close(f"{what}: {title}", a, b, tolerance)


def check_close(what: str, found: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Raise if the largest difference exceeds `tolerance` of the largest value."""
    error = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))
    if not error <= tolerance:
        raise RuntimeError(
            f"{what} differs from the reference by {error:.1e} of the largest value, "
            f"where {tolerance:.0e} is allowed; it is not timed"
        )
