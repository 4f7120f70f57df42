"""Rounding error of the harmonics by dtype and degree, ours and e3nn's.

The largest error over random directions and components, relative to the root mean
square of the components (1 in the ``component`` normalisation). The reference is e3nn
in float64 for the same, already rounded, vectors; in float64 the two are compared.
"""

from __future__ import annotations

from pathlib import Path

import torch

from equicalc import o3
from equicalc.kernels import spherical_harmonics

from .report import print_table, write_results

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
N_VECTORS = 100_000


def run(device: str, out: Path, rounds: int) -> None:
    """Measure, print a table and save it; `rounds` does not matter here."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(N_VECTORS, 3, dtype=torch.float64, generator=generator)
    rows = []
    for dtype in DTYPES:
        x = vectors.to(device, dtype)
        for l in range(11):
            wanted = o3.spherical_harmonics([l], x.double(), True, "component")
            ours = spherical_harmonics([l], x, True, "component")
            theirs = o3.spherical_harmonics([l], x, True, "component")
            rows.append(
                {
                    "dtype": str(dtype).removeprefix("torch."),
                    "l": l,
                    "equicalc_error": f"{float((ours - wanted).abs().max()):.2e}",
                    "e3nn_error": f"{float((theirs - wanted).abs().max()):.2e}",
                }
            )
    print_table(
        "Largest error, of the root mean square",
        list(rows[0]),
        [list(row.values()) for row in rows],
    )
    write_results(out, rows, device)
