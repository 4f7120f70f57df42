"""Run a benchmark by its name."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import accuracy, spherical_harmonics

BENCHMARKS = {
    "spherical-harmonics": spherical_harmonics.run,
    "accuracy": accuracy.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m equicalc.kernels.benchmarks",
        description="Time the kernels, or measure their error, against other packages.",
    )
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="CSV file for the results")
    parser.add_argument("--rounds", type=int, default=9, help="medians are of these")
    arguments = parser.parse_args()
    run = BENCHMARKS[arguments.benchmark]
    run(device=arguments.device, out=arguments.out, rounds=arguments.rounds)


if __name__ == "__main__":
    main()
