"""Time of `EquiCalculator` against the number of atoms, neighbour list included.

Clusters of ethanol at the density of the liquid, energy and forces, against the same
network in plain e3nn and against GFN2-xTB, the method that made the labels of the
shipped potential: a network slower than that has no users. The point where the two
cross is computed. Needs ASE; plain e3nn and GFN2-xTB stop where they take too long.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .plots import can_plot, plot_scaling
from .report import device_name, print_table, write_results
from .timing import medians

MOLECULES = (1, 2, 5, 11, 33, 111, 333, 1111, 2222, 5555, 11111)
SMALLEST = 9  # atoms, of one molecule
MEMORY = 20e9  # bytes
PEERS = {"plain e3nn": (15.0, 1), "GFN2-xTB": (60.0, 3)}  # seconds at most, growth
TOLERANCE = 1e-3  # eV/Angstrom, of float32 through different kernels

Row = dict[str, Any]


def calculators(device: str) -> dict[str, Any]:
    """ASE calculators by name, those that are installed."""
    from equicalc.calculators import EquiCalculator
    from equicalc.calculators.named import named_calculator

    from .plain_e3nn import plain_twin

    ours = EquiCalculator(device=device, skin=0.0)  # every call searches neighbours
    network: Any = ours.committee.members[0].model
    found: dict[str, Any] = {
        "equicalc": ours,
        "plain e3nn": EquiCalculator(plain_twin(network), device=device, skin=0.0),
    }
    if device == "cuda":  # what small structures gain from CUDA graphs
        eager = EquiCalculator(device=device, skin=0.0)
        eager.committee.members[0].engine = eager.committee.members[0].model
        found["equicalc, no CUDA graph"] = eager
    with suppress(ImportError):
        found["GFN2-xTB"] = named_calculator("gfn2")
    return found


def check(found: Mapping[str, Any]) -> None:
    """Compare the forces of our network with those of its twin in plain e3nn."""
    from .structures import ethanol_cluster

    cluster = ethanol_cluster(3)
    forces = [found[name].get_forces(cluster) for name in ("equicalc", "plain e3nn")]
    error = float(np.abs(forces[0] - forces[1]).max())
    if not error < TOLERANCE:
        raise RuntimeError(
            f"forces differ from those of plain e3nn by {error:.1e} eV/Angstrom, where "
            f"{TOLERANCE:.0e} is allowed; nothing is timed"
        )


def memory_by_size(calculator: Any, device: str, largest: int) -> dict[int, float]:
    """Peak memory in bytes after each number of molecules, as far as it fits."""
    from .structures import ethanol_cluster

    peaks: dict[int, float] = {}
    for before, molecules in pairwise([0, *MOLECULES]):
        atoms = ethanol_cluster(molecules)
        expected = peaks[before] * molecules / before if before else 0.0
        if len(atoms) > largest or expected > MEMORY:
            break
        calculator.calculate(atoms, ["energy", "forces"])
        peaks[molecules] = _peak_memory(device)
    return peaks


def measure(device: str, rounds: int, largest: int) -> list[Row]:
    """Median milliseconds of every calculator at every size, and our memory."""
    from .structures import ethanol_cluster

    found = calculators(device)
    memory = memory_by_size(found["equicalc"], device, largest)  # before the others'
    check(found)
    rows: list[Row] = []
    for before, molecules in pairwise([0, *memory]):
        atoms = ethanol_cluster(molecules)
        ratio = molecules / max(before, 1)
        found = {k: c for k, c in found.items() if _affordable(k, rows, ratio)}
        runs: dict[str, Callable[[], None]] = {
            name: lambda c=c, a=atoms: c.calculate(a, ["energy", "forces"])
            for name, c in found.items()
        }
        size = {
            "n_atoms": len(atoms),
            "n_edges": _n_edges(found["equicalc"], atoms),
            "peak_memory_gb": round(memory[molecules] / 1e9, 3),
        }
        rows += [
            {**size, "contender": name, "ms": round(time_s * 1e3, 3)}
            for name, time_s in medians(runs, device, rounds).items()
        ]
    return rows


def _affordable(name: str, rows: list[Row], ratio: float) -> bool:
    """Whether a peer may take its time for a size that is `ratio` times larger."""
    mine = [row["ms"] for row in rows if row["contender"] == name]
    if name not in PEERS or not mine:
        return True
    longest, order = PEERS[name]
    return mine[-1] * 1e-3 * ratio**order < longest


def _n_edges(calculator: Any, atoms: Any) -> int:
    from equicalc.calculators.neighbors import VerletList

    return len(VerletList(calculator.committee.cutoffs[0])(atoms).src)


def _peak_memory(device: str) -> float:
    """Most bytes that this process had at once so far."""
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def crossing(rows: list[Row], ours: str, peer: str) -> float | None:
    """Number of atoms from which `ours` is faster; None if it is so nowhere.

    Between two sizes, times are taken as powers of the number of atoms.
    """
    times = {(row["contender"], row["n_atoms"]): row["ms"] for row in rows}
    sizes = sorted(n for name, n in times if name == peer)
    lead = [math.log(times[peer, n] / times[ours, n]) for n in sizes]
    if not sizes or lead[-1] <= 0:
        return None
    slower = [k for k, value in enumerate(lead) if value <= 0]
    if not slower:
        return float(sizes[0])
    k = slower[-1]
    share = -lead[k] / (lead[k + 1] - lead[k])
    return math.exp((1 - share) * math.log(sizes[k]) + share * math.log(sizes[k + 1]))


def growth(rows: list[Row]) -> list[list[str]]:
    """Time and memory for each neighbour, constant where the cost is linear."""
    ours = [row for row in rows if row["contender"] == "equicalc"]
    start = ours[0]["peak_memory_gb"]  # the packages themselves
    return [
        [
            str(row["n_atoms"]),
            f"{row['ms'] * 1e3 / row['n_edges']:.2f}",
            f"{1e6 * (row['peak_memory_gb'] - start) / row['n_edges']:.2f}",
        ]
        for row in ours
    ]


def run(device: str, out: Path, rounds: int, largest: int = 10_000) -> None:
    """Measure, print tables and the crossing points, save, and plot beside the CSV."""
    rows = measure(device, rounds, largest)
    table = [list(row.values()) for row in rows]
    print_table(f"Energy and forces, {device_name(device)}", list(rows[0]), table)
    print_table("Per neighbour", ["atoms", "us", "kB"], growth(rows))
    crossings = {peer: crossing(rows, "equicalc", peer) for peer in PEERS}
    for peer, n_atoms in crossings.items():
        where = "nowhere" if n_atoms is None else f"from {n_atoms:.0f} atoms on"
        print(f"faster than {peer}: {where}")
    last = rows[-1]
    print(f"largest: {last['n_atoms']} atoms with {last['peak_memory_gb']} GB")
    write_results(out, rows, device)
    if can_plot():
        plot_scaling(rows, crossings["GFN2-xTB"], out.with_suffix(".png"))
