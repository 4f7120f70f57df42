"""What a model must offer to grow molecules with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, nn

if TYPE_CHECKING:
    from equicalc.data.fragment_batch import FragmentBatch, Queries

__all__ = ["Generator", "GeneratorConfig", "Positions"]


class GeneratorConfig(Protocol):
    """The part of a generator's configuration that sampling and training read.

    Attributes
    ----------
    elements
        Atomic numbers, hydrogen first, ascending.
    start
        Frequency of every element as the first atom; empty: see the model.
    max_atoms
        Atoms of the largest molecule to make.
    cutoff, hydrogen_cutoff
        Reach among nodes, and of nodes to hydrogens that are none, Angstrom.
    noise
        Of the positions that fragments are trained on, Angstrom.
    hydrogen_share
        How many of the fragments with hydrogens that are no nodes are trained on.
    """

    @property
    def elements(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def start(self) -> tuple[float, ...]: ...  # noqa: D102
    @property
    def max_atoms(self) -> int: ...  # noqa: D102
    @property
    def cutoff(self) -> float: ...  # noqa: D102
    @property
    def hydrogen_cutoff(self) -> float: ...  # noqa: D102
    @property
    def noise(self) -> float: ...  # noqa: D102
    @property
    def hydrogen_share(self) -> float: ...  # noqa: D102


class Positions(Protocol):
    """Densities of positions around foci."""

    def log_prob(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(r), per Angstrom, and log p(u | r), per steradian, (n,) each."""
        ...

    def sample(self, uniform: Tensor, temperature: float = 1.0) -> Tensor:
        """Return positions from the foci, (n, 3), for random numbers (n, 6)."""
        ...


@runtime_checkable
class Generator(Protocol):
    """A module that says what comes next: focus and species, or stopping; and where.

    Attributes
    ----------
    config
        Shape of the model.
    elements
        Atomic numbers.
    hydrogens_apart
        Whether hydrogens are no nodes, and no possible foci; molecules are then built
        heavy atoms first.
    """

    elements: tuple[int, ...]
    hydrogens_apart: bool

    @property
    def config(self) -> GeneratorConfig: ...  # noqa: D102

    def parameters(self) -> Iterator[nn.Parameter]: ...  # noqa: D102

    def embed(self, batch: FragmentBatch) -> Any:
        """Return what the other methods need to know of all fragments."""
        ...

    def focus_logits(self, h: Any, batch: FragmentBatch) -> Tensor:
        """Return logits of focus and species, (n_pairs, n_elements); stop has 0."""
        ...

    def place(self, h: Any, queries: Queries) -> Positions:
        """Return the densities of positions that queries ask for."""
        ...
