"""Run benchmarks by name."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for libraries that read it once

import torch

from . import (
    accuracy,
    calculator,
    convolution,
    degrees,
    model,
    spherical_harmonics,
    uvw,
)
from .timing import one_thread

BENCHMARKS = {
    "harmonics": spherical_harmonics.run,
    "accuracy": accuracy.run,
    "conv": convolution.run,
    "uvw": uvw.run,
    "model": model.run,
    "degrees": degrees.run,
    "calculator": calculator.run,
}
ALIASES = {"spherical-harmonics": "harmonics"}
FILES = {"harmonics": "spherical_harmonics"}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m equicalc.kernels.benchmarks",
        description="Time the kernels, or measure their error, against other packages. "
        "Every operation is compared with its reference first.",
    )
    parser.add_argument("benchmark", choices=[*BENCHMARKS, *ALIASES, "all"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(),
        help="CSV file, or a folder for NAME_DEVICE.csv and plots  [default: this one]",
    )
    parser.add_argument("--rounds", type=int, default=9, help="medians are of these")
    parser.add_argument(
        "--largest", type=int, default=10_000, help="atoms, of the calculator"
    )
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here: leave --device away")
    if arguments.rounds < 1 or arguments.largest < calculator.SMALLEST:
        parser.error(
            f"--rounds is at least 1, --largest at least {calculator.SMALLEST} atoms"
        )
    given: str = arguments.benchmark
    name = ALIASES.get(given, given)
    settings = {"device": arguments.device, "rounds": arguments.rounds}
    out: Path = arguments.out
    with one_thread():
        if name == "all":
            run_all(out, settings)
            return
        if out.is_dir():
            out /= file_name(name, arguments.device)
        if name == "calculator":
            calculator.run(out=out, largest=arguments.largest, **settings)
        else:
            BENCHMARKS[name](out=out, **settings)


def file_name(name: str, device: str) -> str:
    return f"{FILES.get(name, name)}_{device}.csv"


def run_all(folder: Path, settings: dict) -> None:
    """Run one after the other into a folder; what lacks a package is left out."""
    for name, run in BENCHMARKS.items():
        try:
            run(out=folder / file_name(name, settings["device"]), **settings)
        except ImportError as error:
            print(f"{name} is left out: {error}")


if __name__ == "__main__":
    main()
