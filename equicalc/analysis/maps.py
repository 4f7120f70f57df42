"""Maps of molecules: where the features of each irrep put them, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from equicalc.analysis.drawing import render
from equicalc.analysis.plots import new_figure
from equicalc.analysis.projection import project

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from equicalc.embedding import Embedder

JOINT = "joint"


def embedding_maps(
    embedder: Embedder,
    structures: Sequence[Atoms],
    method: str = "phate",
    raw: bool = False,
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Project the embeddings of molecules, all irreps together and each by itself.

    Parameters
    ----------
    embedder
        What describes the molecules.
    structures
        At least four molecules.
    method
        See `equicalc.analysis.projection.project`.
    raw
        Project the features themselves, as [1]_ does, not their invariants. Vectors
        then lie where the orientation of a molecule in its file puts them.
    seed
        Of the projection.

    Returns
    -------
    dict
        ``"joint"`` and every irrep, to (n, 2).

    References
    ----------
    .. [1] Lee, Galkin, Miret, "Deconstructing equivariant representations in molecular
       systems", 2024.
    """
    describe = embedder.embed if raw else embedder.invariants
    blocks = {
        name: block.reshape(len(block), -1)
        for name, block in describe(structures, level="molecule").items()
    }
    joint = np.concatenate(list(blocks.values()), axis=1)
    return {
        name: project(points, method, seed)
        for name, points in {JOINT: joint, **blocks}.items()
    }


def plot_maps(
    maps: Mapping[str, NDArray[np.floating]],
    values: NDArray[np.floating],
    path: str | Path,
    label: str = "NSPS",
    structures: Sequence[Atoms] | None = None,
    title: str = "",
) -> Path:
    """Draw maps in a row, coloured by a property, with molecules at the extremes.

    Parameters
    ----------
    maps
        Name to (n, 2), see `embedding_maps`.
    values : (n,)
        What colours the points; NaN is grey.
    path
        File to write; its suffix decides about the format.
    label
        Name of the values, with unit.
    structures
        Draw those that lie farthest out towards the four corners of each map.
    title
        Above the maps.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    figure = new_figure(2.6 * len(maps) + 0.6, 3.0)
    panels = np.atleast_1d(figure.subplots(1, len(maps)))
    known = values[np.isfinite(values)]
    limits = np.percentile(known, [2, 98]) if len(known) else (0.0, 1.0)
    for axes, (name, flat) in zip(panels, maps.items()):
        axes.scatter(
            *flat.T,
            c=np.ma.masked_invalid(values),
            s=max(2.0, min(18.0, 4000.0 / len(flat))),
            vmin=limits[0],
            vmax=limits[1],
            cmap="viridis",
            lw=0,
            plotnonfinite=True,
        )
        axes.set_title(name, fontsize="medium")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.25 if structures is None else 0.45)  # pictures lie outside
        if structures is not None:
            _draw_extremes(axes, flat, structures)
    figure.colorbar(panels[-1].collections[0], ax=panels[-1], label=label)
    figure.suptitle(title, fontsize="medium", x=0.01, ha="left")
    figure.savefig(path)
    return Path(path)


def extremes(flat: NDArray[np.floating]) -> dict[int, tuple[int, int]]:
    """Return the points that lie farthest out, each once, and towards which corner.

    Examples
    --------
    >>> extremes(np.array([[0, 0], [1, 1], [-1, 1], [-1, -1], [1, -1.0]]))
    {1: (1, 1), 2: (-1, 1), 3: (-1, -1), 4: (1, -1)}
    """
    spread = np.ptp(flat, axis=0)
    centered = (flat - np.median(flat, axis=0)) / np.where(spread > 0, spread, 1.0)
    corners = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    found: dict[int, tuple[int, int]] = {}
    for corner, k in zip(corners, (centered @ np.array(corners).T).argmax(axis=0)):
        found.setdefault(int(k), corner)
    return found


def _draw_extremes(
    axes: Axes, flat: NDArray[np.floating], structures: Sequence[Atoms]
) -> None:
    """Put pictures of the outermost molecules into the corners."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    for index, (right, up) in extremes(flat).items():
        box = AnnotationBbox(
            OffsetImage(render(structures[index], size=120), zoom=0.32),
            tuple(flat[index]),
            xybox=(0.5 + 0.38 * right, 0.5 + 0.38 * up),
            boxcoords="axes fraction",
            frameon=False,
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": "0.4"},
        )
        axes.add_artist(box)
