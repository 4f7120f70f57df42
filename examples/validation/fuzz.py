"""Broken files for every reader: each must be read or refused by a clear error.

    python examples/validation/fuzz.py [--files 200] [--seed 0] [--only NAME ...]

A file is crafted (a bomb, a pickle, a header that lies) or a whole one to which one to
three things have happened (cut, flipped bits, other types, other encodings). A reader
fails if it raises anything but ValueError or OSError, does not name the file, runs code
that the file holds, or takes more than ten seconds or 300 MiB. Failures are printed,
and kept with --keep DIR.
"""

import argparse
import csv
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from fuzzing.readers import READERS
from fuzzing.trial import trials

RESULTS = Path(__file__).parent / "results" / "fuzz.csv"


def tested(reader, folder, n, seed, keep):
    """One line of the table."""
    row = {"files": 0, "accepted": 0, "rejected": 0, "failed": 0}
    longest = largest = 0.0
    for trial in trials(reader, folder, n, seed):
        row["files"] += 1
        row[trial.outcome] += 1
        longest, largest = max(longest, trial.seconds), max(largest, trial.memory)
        if trial.outcome == "failed":
            print(f"  {trial.file}: {trial.message[:300]}", flush=True)
            for path in folder.glob(f"*/{trial.file}") if keep else ():
                shutil.copy(path, keep)
    return {
        "reader": reader.name,
        **row,
        "longest_s": round(longest, 2),
        "most_memory_MiB": round(largest),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200, help="random ones per reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=READERS, help="no table")
    parser.add_argument("--keep", type=Path, help="folder for what failed")
    parser.add_argument("--output", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    if chosen.keep:
        chosen.keep.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in chosen.only or READERS:
        with tempfile.TemporaryDirectory() as folder:
            row = tested(
                READERS[name], Path(folder), chosen.files, chosen.seed, chosen.keep
            )
        print(*(f"{key} {value}" for key, value in row.items()), flush=True)
        rows.append(row)
    if not chosen.only:
        with chosen.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    sys.exit(any(row["failed"] for row in rows))


if __name__ == "__main__":
    main()
