"""Features of a trained network as arrays, by irrep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, cast, overload

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from numpy.typing import NDArray
from torch import nn

from equicalc.calculators.batches import graph_batches
from equicalc.calculators.members import resolve_device, resolve_dtype
from equicalc.calculators.structures import list_of_atoms
from equicalc.checkpoint import load_checkpoint
from equicalc.embedding.features import (
    FeatureReader,
    Level,
    Pooling,
    feature_names,
)
from equicalc.models.taps import irreps_of, taps_of
from equicalc.pretrained import weights_path

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from equicalc.embedding.similarity import SimilarityIndex
    from equicalc.o3 import Irreps

Structures = Atoms | Iterable[Atoms]
Flat = NDArray[np.floating]
#: Irrep, such as "1o", to (n, channels, 2l+1).
ByIrrep = dict[str, Flat]


class Embedder:
    """Turn structures into the features that a network has learned.

    The features of all layers stand side by side: of every irrep the channels of the
    first layer, then those of the second. They rotate with the structure: row i of
    irrep l as its spherical harmonics Y_lm do, in e3nn's order of components. What does
    not rotate is in `invariants`.

    Parameters
    ----------
    model : nn.Module
        A network that `equicalc.models.taps_of` knows.
    layers : sequence of int, optional
        Layers to take, counted from 0, negative ones from the last; all by default.
    pooling : str
        How atoms make a molecule: ``"mean"`` or ``"sum"``; a network that describes
        whole molecules has nothing to sum.
    batch_size : int
        Structures at a time.

    Attributes
    ----------
    irreps : Irreps
        Of an embedding, in the order in which its flat form has them.
    elements : tuple of int
        Atomic numbers that a structure may have.

    Raises
    ------
    ValueError
        If the network is not registered, has no such layer, or a setting is unknown.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from equicalc.models import Potential, PotentialConfig
    >>> config = PotentialConfig(elements=(1, 8), channels=4, layers=2, dipole=False)
    >>> embedder = Embedder(Potential(config))
    >>> embedder.irreps
    8x0e+4x1o+4x2e
    >>> water = molecule("H2O")
    >>> {name: array.shape for name, array in embedder.embed(water).items()}
    {'0e': (3, 8, 1), '1o': (3, 4, 3), '2e': (3, 4, 5)}
    >>> embedder.embed([water, water], level="molecule", per_irrep=False).shape
    (2, 40)
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        layers: Sequence[int] | None = None,
        pooling: Pooling = "mean",
        batch_size: int = 64,
    ) -> None:
        if pooling not in ("mean", "sum"):
            raise ValueError(f"pooling is {pooling!r}; give 'mean' or 'sum'")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give at least 1")
        self.model = model
        self.taps = taps_of(model)
        if pooling == "sum" and not self.taps.per_atom:
            raise ValueError(
                f"pooling is 'sum', but {type(model).__name__} describes whole "
                "molecules and has no atoms to sum over: leave pooling out"
            )
        self.pooling: Pooling = pooling
        self.batch_size = batch_size
        self.layers = _checked_layers(layers, len(self.taps.features))
        self.irreps: Irreps = irreps_of(
            tuple(self.taps.features[k] for k in self.layers)
        )
        known = tuple(model.elements)  # pyright: ignore[reportArgumentType]
        self.elements = tuple(sorted({*known, *self.taps.ignored}))
        self._cutoff = float(model.cutoff)  # pyright: ignore[reportArgumentType]

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        *,
        device: str = "auto",
        dtype: str = "float32",
        backend: str = "auto",
        layers: Sequence[int] | None = None,
        pooling: Pooling = "mean",
        batch_size: int = 64,
    ) -> Self:
        """Load a network.

        Parameters
        ----------
        model
            Name of a shipped model, the beginning of one (``"potential"``), or the
            file of a checkpoint; the shipped default if omitted.
        device, dtype, backend
            As for `equicalc.EquiCalculator`.
        layers, pooling, batch_size
            See the class.

        Raises
        ------
        FileNotFoundError
            If there is no such name or file.

        Examples
        --------
        >>> Embedder.from_pretrained("symphony", device="cpu").irreps
        144x0e+144x1o+144x2e
        """
        network, _ = load_checkpoint(
            weights_path(model), resolve_device(device), resolve_dtype(dtype), backend
        )
        return cls(network, layers=layers, pooling=pooling, batch_size=batch_size)

    @overload
    def embed(
        self,
        structures: Structures,
        level: Level | None = ...,
        per_irrep: Literal[True] = ...,
    ) -> ByIrrep: ...
    @overload
    def embed(
        self,
        structures: Structures,
        level: Level | None = ...,
        *,
        per_irrep: Literal[False],
    ) -> Flat: ...
    def embed(
        self,
        structures: Structures,
        level: Level | None = None,
        per_irrep: bool = True,
    ) -> ByIrrep | Flat:
        """Return the features of structures.

        Parameters
        ----------
        structures
            One structure or many.
        level
            ``"atom"``: one row for every atom, structures end to end; an atom that the
            network has no features of (a hydrogen in Symphony) has zeros.
            ``"molecule"``: one row for every structure, pooled over its atoms. The
            first of `levels` if omitted: atoms, if the network has features of them.
        per_irrep
            By irrep, or as one flat array.

        Returns
        -------
        dict or array
            Irrep, ``"1o"`` say, to (n, channels, 2l+1); or (n, irreps.dim), the irreps
            in the order of `irreps`, in each the components of the first channel, of
            the second, ...: what `irreps.D_from_matrix` rotates.

        Raises
        ------
        InputError
            If an element is unknown, or a structure is charged, of open shells, or
            periodic and the network knows molecules only; it names the structure.
        ValueError
            If the level is unknown, or the network describes whole molecules only.
        """
        by_irrep = self._rows(structures, self.checked_level(level))
        return by_irrep if per_irrep else flat(by_irrep)

    @overload
    def invariants(
        self, structures: Structures, level: Level = ..., per_irrep: Literal[True] = ...
    ) -> ByIrrep: ...
    @overload
    def invariants(
        self, structures: Structures, level: Level = ..., *, per_irrep: Literal[False]
    ) -> Flat: ...
    def invariants(
        self, structures: Structures, level: Level = "molecule", per_irrep: bool = True
    ) -> ByIrrep | Flat:
        """Return what of the features does not change when a structure is turned.

        Scalars (0e) as they are, of every other channel the length. A molecule's are
        pooled from those of its atoms: in a symmetric molecule the vectors of the
        atoms add up to nothing, their lengths do not.

        Parameters
        ----------
        structures, level, per_irrep
            As for `embed`.

        Returns
        -------
        dict or array
            Irrep to (n, channels); or (n, number of channels), irreps in order.
        """
        rows = self._rows(structures, self.checked_level(level), invariant=True)
        by_irrep = {name: block[..., 0] for name, block in rows.items()}
        return by_irrep if per_irrep else flat(by_irrep)

    def index(
        self, structures: Iterable[Atoms], irreps: Sequence[str] | None = None
    ) -> SimilarityIndex:
        """Prepare a search for similar structures, see `SimilarityIndex`."""
        from equicalc.embedding.similarity import SimilarityIndex

        return SimilarityIndex(self, structures, irreps)

    def feature_names(self, invariant: bool = False) -> list[str]:
        """Name the columns of a flat embedding, or of flat invariants.

        Examples
        --------
        >>> from equicalc.models import Potential, PotentialConfig
        >>> config = PotentialConfig((1,), channels=1, ls=(0, 1), layers=1)
        >>> Embedder(Potential(config)).feature_names()
        ['0e_0', '1o_0_-1', '1o_0_0', '1o_0_1']
        """
        return feature_names(self.irreps, invariant)

    @property
    def levels(self) -> tuple[Level, ...]:
        """What the network has rows for."""
        return ("atom", "molecule") if self.taps.per_atom else ("molecule",)

    def checked_level(self, level: str | None) -> Level:
        """Return a level that the network has, the first one for None.

        Raises
        ------
        ValueError
            If the level is unknown, or the network describes whole molecules only.
        """
        if level not in ("atom", "molecule", None):
            raise ValueError(f"level is {level!r}; give 'atom' or 'molecule'")
        if level == "atom" and not self.taps.per_atom:
            raise ValueError(
                f"{type(self.model).__name__} describes whole molecules, not atoms: "
                "the level is 'molecule'"
            )
        return cast(Level, level) or self.levels[0]

    def __repr__(self) -> str:
        return (
            f"Embedder({type(self.model).__name__}: {self.irreps} of "
            f"{' or '.join(self.levels)})"
        )

    def _rows(
        self, structures: Structures, level: Level, invariant: bool = False
    ) -> ByIrrep:
        """Join blocks (n, channels, components) batch by batch."""
        given = [structures] if isinstance(structures, Atoms) else structures
        listed = list_of_atoms(given)
        if not listed:
            raise InputError("there is no structure to embed: give at least one")
        reader = FeatureReader(self.taps, self.layers, self.pooling)
        collected: dict[str, list[Flat]] = {}
        for graph in self.graphs(listed):
            for name, block in reader.blocks(graph, level, invariant).items():
                collected.setdefault(name, []).append(block.cpu().numpy())
        return {name: np.concatenate(parts) for name, parts in collected.items()}

    def graphs(self, structures: Sequence[Atoms]) -> Iterator[Data]:
        """Yield structures as graphs, `batch_size` of them in each.

        Raises
        ------
        InputError
            If an element is unknown, or a structure is charged, of open shells, or
            periodic and the network knows molecules only; it names the structure.
        """
        device = str(next(self.model.parameters()).device)
        return graph_batches(
            structures,
            self.elements,
            self._cutoff,
            self.batch_size,
            device,
            molecules_only=self.taps.molecules_only,
        )


def _checked_layers(layers: Sequence[int] | None, n: int) -> list[int]:
    if layers is None:
        return list(range(n))
    if not layers or any(not -n <= k < n for k in layers):
        raise ValueError(
            f"layers {list(layers)} were asked for; this network has 0 to {n - 1}"
        )
    return [k % n for k in layers]


def flat(by_irrep: ByIrrep) -> Flat:
    """Lay features or invariants side by side, (n, columns)."""
    return np.concatenate([x.reshape(len(x), -1) for x in by_irrep.values()], axis=1)
