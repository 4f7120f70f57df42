"""``equicalc evaluate-molecules``: how good generated molecules are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from equicalc.cli import inputs

if TYPE_CHECKING:
    from equicalc.generators.metrics import Statistics

#: Papers that fit into the width of a terminal; a report has all.
COLUMNS = ("QM9", "Symphony", "EDM", "Quetzal")


def evaluate_molecules(
    molecules: Annotated[
        list[str],
        typer.Argument(
            help="Files of generated structures; several are compared.",
            metavar="FILE...",
        ),
    ],
    known: Annotated[
        Path | None,
        typer.Option(
            help="SMILES of the training set, or a packed data set, for the novelty.",
            exists=True,
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Packed data set to compare with; its statistics are kept beside it.",
            exists=True,
            show_default="QM9, as shipped",
        ),
    ] = None,
    posebusters: Annotated[
        int,
        typer.Option(help="Valid molecules to check with PoseBusters.", min=0),
    ] = 0,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", "-o", help="Folder for tables, plots and pictures of molecules."
        ),
    ] = None,
    seed: inputs.Seed = 0,
) -> None:
    """Measure molecules as the literature does, beside its numbers.

    Validity by xyz2mol, OpenBabel (if installed) and a lookup table; uniqueness, with
    stereoisomers apart and ('constitutions') without; novelty, stability; PoseBusters;
    divergences of bond lengths, bispectra, elements, environments and rings from QM9. A
    report has the same in tables and plots, and random molecules in pictures; of
    several files, validity against uniqueness.

    [bold]Examples[/bold]

      [cyan]equicalc evaluate-molecules mols.extxyz --report out[/cyan]

      [cyan]equicalc evaluate-molecules mols.extxyz --posebusters 200[/cyan]

      [cyan]equicalc evaluate-molecules cold.extxyz warm.extxyz --report out[/cyan]
    """
    from equicalc.cli.console import print_table, stdout
    from equicalc.generators import metrics
    from equicalc.generators.metrics.report import Evaluated, report_rows, write_report
    from equicalc.generators.storage import read_molecules

    statistics = _statistics(reference)
    smiles = _smiles(known)
    sets = []
    for text in molecules:
        if not inputs.is_file(text):
            raise ValueError(f"{text} does not exist: give a file of structures")
        structures = read_molecules(text)
        try:
            table = metrics.evaluate_molecules(
                structures,
                smiles,
                openbabel=metrics.has_openbabel(),
                n_posebusters=posebusters,
                reference=statistics,
            )
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from error
        sets.append(Evaluated(Path(text).stem, structures, table))
    tables = {one.name: one.table for one in sets}
    for title, rows in report_rows(tables, COLUMNS):
        print_table(title, rows)
    for name, table in tables.items():
        stdout.print(
            f"{name}: {table['n_molecules']} molecules; {table['protocol']}; "
            f"{table['versions']}"
        )
    if report is not None:
        page = write_report(inputs.output_folder(report), sets, statistics, seed)
        stdout.print(f"report: {page}")


def _statistics(folder: Path | None) -> Statistics:
    """Statistics of a packed data set, made once, or those of QM9."""
    from equicalc.data.packed import PackedDataset
    from equicalc.generators.metrics import (
        Statistics,
        qm9_statistics,
        statistics_of_dataset,
    )

    if folder is None:
        return qm9_statistics()
    kept = folder / "molecule_statistics.npz"
    if not kept.exists():
        statistics_of_dataset(PackedDataset(folder)).save(kept)
    return Statistics.load(kept)


def _smiles(path: Path | None) -> set[str]:
    """Canonical SMILES of a file or of a packed data set."""
    if path is None:
        return set()
    if path.is_dir():
        from equicalc.data.packed import PackedDataset
        from equicalc.generators.metrics import smiles_of_dataset

        return smiles_of_dataset(PackedDataset(path))
    from equicalc.data.smiles import canonical, read_smiles

    return {canonical(smiles, stereo=False) for smiles in read_smiles(path)}
