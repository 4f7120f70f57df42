"""``equicalc evaluate-molecules``: how good generated molecules are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from equicalc.cli import inputs

#: Published numbers, percent: validity (xyz2mol), uniqueness, molecule stability.
#: Daigavane et al., ICLR 2024; Hoogeboom et al., ICML 2022.
PUBLISHED = {
    "Symphony": {"validity": 83.50, "uniqueness": 97.98},
    "EDM": {
        "validity": 86.74,
        "uniqueness": 99.16,
        "molecule_stability": 82.0,
    },
}
SHOWN = (
    "validity",
    "strict_validity",
    "uniqueness",
    "novelty",
    "atom_stability",
    "molecule_stability",
)


def evaluate_molecules(
    molecules: Annotated[
        str, typer.Argument(help="File of generated structures.", metavar="FILE")
    ],
    known: Annotated[
        Path | None,
        typer.Option(help="SMILES of the training set, for the novelty.", exists=True),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", "-o", help="Folder for metrics.json."),
    ] = None,
) -> None:
    """Measure validity, uniqueness, novelty and stability of molecules.

    [bold]Example[/bold]

      [cyan]equicalc evaluate-molecules mols.extxyz --report out[/cyan]
    """
    from equicalc.cli.console import print_table, stdout
    from equicalc.generators import metrics

    structures = [named.atoms for named in inputs.read_structures([molecules])]
    table = metrics.evaluate_molecules(structures, _smiles(known))
    columns = {"these": table, **PUBLISHED}
    rows: list[dict[str, object]] = []
    for key in (key for key in SHOWN if key in table):
        row: dict[str, object] = {"percent": key.replace("_", " ")}
        for name, column in columns.items():
            row[name] = round(column[key], 2) if key in column else ""
        rows.append(row)
    print_table(f"{table['n_molecules']} molecules", rows)
    stdout.print(f"protocol: {table['protocol']}; {table['versions']}")
    if report is not None:
        file = inputs.output_folder(report) / "metrics.json"
        file.write_text(json.dumps(table, indent=1) + "\n")
        stdout.print(f"metrics: {file}")


def _smiles(path: Path | None) -> set[str]:
    """Canonical SMILES of a file."""
    if path is None:
        return set()
    from equicalc.data.smiles import canonical, read_smiles

    return {canonical(smiles) for smiles in read_smiles(path)}
