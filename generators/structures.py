"""From grown molecules to structures that say where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties

from .growing import Growing

__all__ = ["ARRAYS", "merged", "structure"]

#: Arrays of a generated structure: step, focus and log probability of every atom.
ARRAYS = ("gen_step", "gen_focus", "gen_logp")


def structure(
    growing: Growing, row: int, n_given: int, elements: Sequence[int]
) -> Atoms:
    """Turn one molecule into a structure with its provenance.

    Parameters
    ----------
    growing
        Some molecules.
    row
        Which one.
    n_given
        Atoms that were given: their step is -1.
    elements
        Atomic numbers of the species.
    """
    n = int(growing.n_atoms[row])
    log_prob = growing.log_prob[row, :n].double().cpu().numpy()
    atoms = Atoms(
        np.array(elements)[growing.species[row, :n].cpu().numpy()],
        growing.positions(row),
    )
    step = np.maximum(np.arange(n) - n_given, -1)
    for name, values in zip(
        ARRAYS, (step, growing.focus[row, :n].cpu().numpy(), log_prob)
    ):
        atoms.set_array(name, values)
    atoms.info["molecule"] = int(growing.number[row])
    atoms.info["log_prob"] = float(log_prob.sum())
    return atoms


def merged(fragment: Atoms, grown: Atoms) -> Atoms:
    """Append what was added to a fragment to the fragment itself, copied.

    Charge, spin, energy, SMILES or whatever is in its ``info`` is true of the fragment
    alone and would be wrong of the whole molecule, and so would be what a calculator
    said of its atoms, such as forces: they stay behind.

    Parameters
    ----------
    fragment
        Given atoms; positions, other arrays and constraints are kept.
    grown
        The same atoms first, and more.
    """
    whole = cast(Atoms, fragment.copy())
    for name in all_properties:
        whole.set_array(name, None)
    whole += grown[len(fragment) :]
    for name in ARRAYS:
        whole.set_array(name, grown.arrays[name])
    whole.info = grown.info
    return whole
