"""What all benchmarks share: where they ran, files and tables."""

from __future__ import annotations

import csv
import functools
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = (
    *("torch", "e3nn", "triton", "sphericart-torch", "mace-torch", "tblite"),
    *("cuequivariance-torch", "openequivariance"),
)

PEAKS = {  # of memory in byte/s, and of float32 in operations/s
    "H200": (4.8e12, 67e12),
    "H100": (3.35e12, 67e12),
    "A100": (2.0e12, 19.5e12),
}


def environment(device: str) -> dict[str, str]:
    """Device, threads, versions and commit."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    where = {"device": device_name(device), "threads": str(torch.get_num_threads())}
    return {**where, **versions, "commit": _commit()}


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")]
    return models[0] if models else platform.processor()


def peaks(device: str) -> tuple[float, float] | None:
    """Bandwidth and speed of a known GPU, see `PEAKS`."""
    if device != "cuda":
        return None
    known = [peak for card, peak in PEAKS.items() if card in device_name(device)]
    return known[0] if known else None


@functools.cache  # before results make the folder differ from it
def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def write_results(
    path: Path, rows: Sequence[Mapping[str, object]], device: str
) -> None:
    """Save rows with where and when they were measured, and say where.

    Raises
    ------
    ValueError
        If a column has the name of one of those, which would take its place.
    """
    context = environment(device)
    if taken := rows[0].keys() & context.keys():
        raise ValueError(f"call these columns something else: {', '.join(taken)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *context], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **context} for row in rows)
    print(f"\nsaved as {path}")


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence]) -> None:
    """First column to the left, others to the right."""
    lines = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}")
    for line in lines:
        first, *others = zip(line, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(text.rjust(n) for text, n in others)]
        print("  ".join(cells))
