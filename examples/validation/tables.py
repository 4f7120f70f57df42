"""Results of the validations: files in a folder, and the same on the screen."""

from __future__ import annotations

import csv
import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def write_table(name: str, rows: list[dict]) -> None:
    """Write rows as CSV and show them."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


def write_json(name: str, table: dict) -> None:
    """Write a table as JSON and show it."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(table, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)
