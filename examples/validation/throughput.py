"""How many structures a second each step of a design takes through, on one core.

    python examples/validation/throughput.py [--output FILE.csv]

Processor seconds, so that other work on the machine counts little. Loading the
packages and the networks is not counted.
"""

import argparse
import csv
import tempfile
import time
from pathlib import Path

import torch
from tables import RESULTS

from equicalc.design import (
    Embed,
    Generator,
    LatticeEnergy,
    Pack,
    Properties,
    Record,
    Relax,
    RunDatabase,
    Synthesizable,
    Valid,
)

WARM, COUNTED = 2, 32


def timed(call):
    """What a call returns, and the processor seconds that it took."""
    started = time.process_time()
    result = call()
    return result, time.process_time() - started


def measure():
    """Yield name, number of structures and seconds of each step."""
    source = Generator()
    source.fresh(range(WARM), seed=1)
    molecules, seconds = timed(lambda: source.fresh(range(COUNTED), seed=0))
    yield "generate (symphony)", COUNTED, seconds
    parents = molecules[:8]
    _, seconds = timed(lambda: [source.variant(one, 3) for one in parents])
    yield "regrow a part (symphony)", len(parents), seconds
    for name, step, n in (
        ("valid", Valid(), COUNTED),
        ("synthesizable", Synthesizable(at_most=10), COUNTED),
        ("relax (shipped potential, 0.05 eV/A)", Relax(), 16),
        ("gap and dipole (GFN2-xTB)", Properties(names=("gap", "dipole_moment")), 16),
        ("embed", Embed(), 16),
        ("pack (groups 2, 14, 19)", Pack(n=1), 4),
        ("lattice energy (exp-6)", LatticeEnergy(), 6),
    ):
        list(step(molecules[:1]))  # loads what it needs
        given = molecules[:n]
        molecules, seconds = timed(lambda step=step, given=given: list(step(given)))
        yield name, len(molecules) if step.expands else len(given), seconds
    yield from database(molecules)


def database(structures):
    """Yield what it takes to write and to read a structure (SQLite)."""
    n = 200
    store = RunDatabase(Path(tempfile.mkdtemp()) / "run.db")
    records = [
        Record(f"000-{k:06d}", structures[k % len(structures)], 0, 0) for k in range(n)
    ]
    store.write(records[:1])
    _, seconds = timed(lambda: store.write(records))
    yield "write to SQLite", n, seconds
    _, seconds = timed(store.records)
    yield "read from SQLite", n, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "design_throughput.csv"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    with args.output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "structures", "cpu_seconds", "ms_per_structure"])
        for name, n, seconds in measure():
            row = [name, n, f"{seconds:.3f}", f"{1000 * seconds / n:.2f}"]
            writer.writerow(row)
            file.flush()
            print(*row, sep="\t", flush=True)


if __name__ == "__main__":
    main()
