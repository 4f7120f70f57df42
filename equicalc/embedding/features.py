"""From a batch of structures to blocks of features: what `Embedder` collects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from equicalc.models.taps import Taps
from equicalc.o3 import Irreps

if TYPE_CHECKING:
    from torch_geometric.data import Data

Level = Literal["atom", "molecule"]
Pooling = Literal["mean", "sum"]


@dataclass(frozen=True)
class FeatureReader:
    """Features of the atoms of a batch, or pooled over its molecules.

    Attributes
    ----------
    taps : Taps
        Where they are in the network.
    layers : list of int
        Layers to take, counted from 0.
    pooling : str
        How atoms make a molecule: ``"mean"`` or ``"sum"``.
    """

    taps: Taps
    layers: list[int]
    pooling: Pooling

    @torch.no_grad()
    def blocks(self, graph: Data, level: Level, invariant: bool) -> dict[str, Tensor]:
        """Return blocks (n, channels, components) by irrep, on the graph's device.

        Parameters
        ----------
        graph
            A batch, see `equicalc.graph`.
        level
            What the n rows are. Atoms without features have zeros.
        invariant
            Replace the components of each channel by their length.
        """
        features = self.taps.read(graph, self.layers)
        if invariant:
            features = {name: _lengths(name, x) for name, x in features.items()}
        if not self.taps.per_atom:
            return features
        owner, n_rows = self.taps.rows(graph), len(graph["z"])
        if level == "molecule":
            owner, n_rows = graph["batch"][owner], len(graph["ptr"]) - 1
        return {
            name: self._pooled(block, owner, n_rows, level)
            for name, block in features.items()
        }

    def _pooled(
        self, block: Tensor, owner: Tensor, n_rows: int, level: Level
    ) -> Tensor:
        """Add up the rows of every owner, or take their mean."""
        total = block.new_zeros(n_rows, *block.shape[1:]).index_add(0, owner, block)
        if level == "atom" or self.pooling == "sum":
            return total
        count = torch.bincount(owner, minlength=n_rows).clamp(min=1)
        return total / count.view(-1, 1, 1)


def feature_names(irreps: Irreps, invariant: bool) -> list[str]:
    """Name the columns of flat features, or of flat invariants.

    Examples
    --------
    >>> feature_names(Irreps("2x0e+1x1o"), invariant=True)
    ['0e_0', '0e_1', '1o_0']
    """
    return [
        f"{ir}_{channel}" if invariant or ir.l == 0 else f"{ir}_{channel}_{m}"
        for mul, ir in irreps
        for channel in range(mul)
        for m in (range(-ir.l, ir.l + 1) if not invariant else (0,))
    ]


def chosen_irreps(irreps: Irreps, asked: Sequence[str] | None) -> list[str]:
    """Return the irreps that were asked for, each once, or all of them.

    Parameters
    ----------
    irreps
        Of the network.
    asked
        Names in any order, which is kept; None for all.

    Raises
    ------
    ValueError
        If none is asked for, or one that the network does not have.

    Examples
    --------
    >>> chosen_irreps(Irreps("2x0e+1x1o"), ["1o", "0e"])
    ['1o', '0e']
    """
    known = [str(ir) for _, ir in irreps]
    if asked is None:
        return known
    chosen = list(dict.fromkeys(asked))
    if not chosen:
        raise ValueError(
            f"irreps is empty; give some of {', '.join(known)}, or None for all"
        )
    if unknown := [name for name in chosen if name not in known]:
        raise ValueError(
            f"irrep {unknown[0]} was asked for; this network has {', '.join(known)}"
        )
    return chosen


def _lengths(name: str, block: Tensor) -> Tensor:
    """Invariants (n, channels, 1) of features (n, channels, 2l+1)."""
    return block if name == "0e" else torch.linalg.vector_norm(block, dim=2)[..., None]
