"""Pictures of structures for a page: flat drawings and models that can be turned."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from equicalc.data.bonds import find_bonds

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["depiction", "model_of", "viewer_script"]

SIZE = (260, 170)  # pixels
CARBON = [82, 82, 90]


def depiction(smiles: str) -> str:
    """Return the structural formula of a molecule as SVG; empty for no SMILES.

    Examples
    --------
    >>> depiction("CCO")[:4], depiction("")
    ('<svg', '')
    """
    from rdkit import Chem
    from rdkit.Chem.Draw import rdMolDraw2D

    molecule = Chem.MolFromSmiles(smiles) if smiles else None
    if molecule is None:
        return ""
    drawer = rdMolDraw2D.MolDraw2DSVG(*SIZE)
    drawer.drawOptions().clearBackground = False
    drawer.drawOptions().fixedBondLength = 28
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
    drawer.FinishDrawing()
    text = drawer.GetDrawingText()
    return text[text.index("<svg") :]


def model_of(frames: Sequence[Atoms]) -> dict[str, Any]:
    """Return what the viewer needs to show a structure, or to play a trajectory.

    Parameters
    ----------
    frames
        At least one; the bonds are those of the first. Molecules of crystals are drawn
        as they are, in the box of the cell.

    Returns
    -------
    dict
        Lengths are whole hundredths of an Angstrom, colors 0 to 255.

    Examples
    --------
    >>> from ase.build import molecule
    >>> model = model_of([molecule("H2O")])
    >>> len(model["frames"][0]), model["bonds"], model["cell"]
    (9, [[0, 1], [0, 2]], [])
    """
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    first = frames[0]
    colors = (255 * jmol_colors[first.numbers]).astype(int)
    colors[first.numbers == 6] = CARBON
    periodic = bool(first.pbc.all())
    middles = [_middle(frame) for frame in frames]
    return {
        "colors": colors.tolist(),
        "radii": (45 * covalent_radii[first.numbers]).astype(int).tolist(),
        "bonds": find_bonds(first).tolist(),
        "frames": [
            _hundredths(frame.positions - middle).ravel().tolist()
            for frame, middle in zip(frames, middles)
        ],
        "cell": _hundredths(_edges(first) - middles[0]).tolist() if periodic else [],
    }


def viewer_script() -> str:
    """Return the JavaScript with the function ``show(canvas, model)``."""
    return files("equicalc.design.report").joinpath("viewer.js").read_text()


def _middle(atoms: Atoms) -> np.ndarray:
    if atoms.pbc.all():
        return atoms.cell.array.sum(axis=0) / 2
    return atoms.get_center_of_mass()


def _edges(atoms: Atoms) -> np.ndarray:
    """Return the twelve edges of a cell, (12, 2, 3)."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    edges = [
        (a, b)
        for a in corners
        for b in corners
        if (b - a).sum() == 1 and (b >= a).all()
    ]
    return np.array(edges) @ atoms.cell.array


def _hundredths(positions: np.ndarray) -> np.ndarray:
    return np.rint(100 * positions).astype(int)
