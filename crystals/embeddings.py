"""Embeddings of molecules that turn with them, for crystals described by numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from equicalc.checkpoint import load_checkpoint
from equicalc.graph import collate, make_graph
from equicalc.models import Mo3ENet
from equicalc.pretrained import weights_path

from .pose import parameters_of
from .shape import standard_frame, vdw_volume

if TYPE_CHECKING:
    from ase import Atoms

    from .crystal import MolecularCrystal

__all__ = [
    "EMBEDDINGS",
    "Embedding",
    "Learned",
    "NoEmbedding",
    "PrincipalAxes",
    "Volume",
    "embed_crystals",
    "in_standard_setting",
    "named_embedding",
]


class Embedding(Protocol):
    """Numbers that tell molecules apart.

    ``encode`` gives vectors (n, 3, k) that turn with the molecules, ``scalars`` numbers
    (n, m) that do not.
    """

    def encode(self, molecules: Sequence[Atoms]) -> NDArray[np.float64]:
        """Vectors of molecules."""
        ...

    def scalars(self, molecules: Sequence[Atoms]) -> NDArray[np.float64]:
        """Numbers of molecules."""
        ...


class NoEmbedding:
    """Nothing: crystals are told apart by their parameters alone."""

    def encode(self, molecules: Sequence[Atoms]) -> NDArray[np.float64]:
        """No vectors."""
        return np.zeros((len(molecules), 3, 0))

    def scalars(self, molecules: Sequence[Atoms]) -> NDArray[np.float64]:
        """No numbers."""
        return np.zeros((len(molecules), 0))


class Volume(NoEmbedding):
    """The van der Waals volume, in 100 Angstrom^3."""

    def scalars(self, molecules: Sequence[Atoms]) -> NDArray[np.float64]:
        """One number."""
        return np.array([[vdw_volume(one) / 100] for one in molecules])


class PrincipalAxes:
    """Principal axes of inertia, as long as the extension along them (Angstrom)."""

    def encode(self, molecules: Sequence[Atoms]) -> NDArray[np.float64]:
        """Three vectors, columns."""
        found = []
        for one, lengths in zip(molecules, self.scalars(molecules)):
            found.append(standard_frame(one).T * lengths)
        return np.reshape(found, (-1, 3, 3))

    def scalars(self, molecules: Sequence[Atoms]) -> NDArray[np.float64]:
        """Root mean square extensions along the axes."""
        found = []
        for one in molecules:
            apart = one.positions - one.get_center_of_mass()
            along = apart @ standard_frame(one).T
            weight = one.get_masses() / one.get_masses().sum()
            found.append(np.sqrt(weight @ along**2))
        return np.reshape(found, (-1, 3))


class Learned:
    """What the encoder of a `Mo3ENet` makes of molecules.

    Parameters
    ----------
    model
        A trained network, on any device.
    """

    def __init__(self, model: Mo3ENet) -> None:
        self.model = model

    def encode(self, molecules: Sequence[Atoms]) -> NDArray[np.float64]:
        """Vectors (n, 3, bottleneck)."""
        cutoff = self.model.config.cutoff  # of edges that the encoder does not read
        graphs = [
            make_graph(one.numbers, one.positions, cutoff=cutoff) for one in molecules
        ]
        with torch.no_grad():
            found = self.model.encode(collate(graphs).to(self._device))
        return found.double().cpu().numpy()

    def scalars(self, molecules: Sequence[Atoms]) -> NDArray[np.float64]:
        """Numbers (n, bottleneck)."""
        vectors = torch.as_tensor(
            self.encode(molecules), dtype=torch.float32, device=self._device
        )
        with torch.no_grad():
            return self.model.scalars(vectors).double().cpu().numpy()

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


#: Name -> what builds the embedding.
EMBEDDINGS: MappingProxyType[str, Callable[[], Embedding]] = MappingProxyType(
    {"none": NoEmbedding, "volume": Volume, "axes": PrincipalAxes}
)


@lru_cache(maxsize=8)
def named_embedding(name: str) -> Embedding:
    """Build an embedding, or give the one that was built before.

    Parameters
    ----------
    name
        One of `EMBEDDINGS`, or ``"mo3enet"`` or ``"mo3enet:FILE"`` for a trained
        encoder, shipped or in a file.

    Raises
    ------
    ValueError
        If there is none of that name.
    FileNotFoundError
        If there is no such encoder.
    """
    kind, _, file = name.partition(":")
    if kind == "mo3enet":
        model, _ = load_checkpoint(weights_path(file or kind))
        if not isinstance(model, Mo3ENet):
            raise ValueError(f"{file or kind} is a {type(model).__name__}, no Mo3ENet")
        return Learned(model)
    if name not in EMBEDDINGS:
        raise ValueError(
            f"embedding {name!r} is unknown; give {', '.join(EMBEDDINGS)} or "
            "mo3enet[:FILE]"
        )
    return EMBEDDINGS[name]()


def in_standard_setting(
    crystals: Sequence[MolecularCrystal],
) -> tuple[list[MolecularCrystal], list[Atoms], NDArray[np.float64]]:
    """Put crystals with one independent molecule into the standard setting.

    Returns
    -------
    crystals
        In the standard setting.
    molecules
        As they are posed there.
    parameters : (n, 12)
        See `MolecularCrystal.parameters`; of the same pose.

    Raises
    ------
    ValueError
        If several molecules of a crystal are independent.
    """
    for one in crystals:
        one.require_one_molecule()
    standard = [one.standardised() for one in crystals]
    molecules = [one.molecules[0] for one in standard]
    parameters = [parameters_of(one.cell, one.molecules[0]) for one in standard]
    return standard, molecules, np.reshape(parameters, (-1, 12))


def embed_crystals(
    crystals: Sequence[MolecularCrystal], embedding: Embedding
) -> dict[str, NDArray[np.float64]]:
    """Describe crystals with one independent molecule by numbers.

    Returns
    -------
    dict
        ``parameters`` (n, 12), see `MolecularCrystal.parameters`; ``spacegroups`` (n,);
        ``scalars`` (n, m) and ``vectors`` (n, 3, k) of the molecule as it is posed in
        the standard setting.
    """
    standard, molecules, parameters = in_standard_setting(crystals)
    return {
        "parameters": parameters,
        "spacegroups": np.array([one.spacegroup for one in standard]),
        "scalars": embedding.scalars(molecules),
        "vectors": embedding.encode(molecules),
    }
