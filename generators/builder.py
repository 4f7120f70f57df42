"""Make molecules and complete fragments: a trained model as a structure builder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from equicalc.checkpoint import load_checkpoint
from equicalc.models import Symphony
from equicalc.nn.draw import draw
from equicalc.pretrained import weights_path
from equicalc.training.growth import GrowthBatch, growth_log_prob, growth_of

from .fragments import check_fragment, species_of
from .growing import Growing, Temperature, grow, step
from .streams import uniforms
from .structures import merged, structure

__all__ = ["Builder", "Proposal", "load_builder"]


def load_builder(name: str | Path = "symphony", device: str = "cpu") -> Builder:
    """Load a generator.

    Parameters
    ----------
    name
        A shipped model or the file of a checkpoint.
    device
        Where it runs.

    Raises
    ------
    FileNotFoundError
        If there is neither such a model nor such a file.
    ValueError
        If the file is damaged, or its model is not a generator.
    """
    path = weights_path(name)
    model, _ = load_checkpoint(path, device=device)
    if not isinstance(model, Symphony):
        raise ValueError(
            f"{name} is a {type(model).__name__}, not a generator: give 'symphony', or "
            "the file of a run with task: symphony"
        )
    return Builder(model, str(name))


class Proposal(NamedTuple):
    """An atom that may come next.

    Attributes
    ----------
    focus : int
        Index of the atom that it is attached to.
    symbol : str
        Its element.
    position : (3,), Angstrom
    log_prob : float
        Of focus, element and position (per cubic Angstrom), at temperature 1.
    """

    focus: int
    symbol: str
    position: NDArray[np.float64]
    log_prob: float


class Builder:
    """A generator of molecules.

    Structures say where they come from: ``info`` has ``generator``, ``seed``,
    ``molecule`` (its number), ``complete`` (whether the model said stop) and
    ``log_prob``; the arrays ``gen_step``, ``gen_focus`` and ``gen_logp`` tell when
    each atom was placed (-1: it was given), at which atom, and how likely that was.

    Parameters
    ----------
    model : Symphony
        A trained network.
    name : str
        What to call it in the provenance.
    """

    def __init__(self, model: Symphony, name: str = "symphony") -> None:
        self.model = model.eval()
        self.name = name

    def generate(
        self,
        n: int,
        seed: int = 0,
        *,
        batch_size: int = 256,
        temperature: Temperature | None = None,
        first: int = 0,
    ) -> list[Atoms]:
        """Make molecules from nothing.

        Molecule k of a seed is the same one whatever `n`, `batch_size` and `first`.

        Parameters
        ----------
        n
            How many.
        seed
            Of the random numbers.
        batch_size
            Molecules that grow in step.
        temperature
            Below 1: safer and less varied.
        first
            Number of the first molecule.
        """
        stream = self.stream(
            n, seed, batch_size=batch_size, temperature=temperature, first=first
        )
        return list(stream)

    def stream(
        self,
        n: int,
        seed: int = 0,
        *,
        batch_size: int = 256,
        temperature: Temperature | None = None,
        first: int = 0,
    ) -> Iterator[Atoms]:
        """Yield the molecules of `generate` in their order, batch by batch."""
        start = torch.tensor(self._start_weights(), device=self._device)
        for begin in range(first, first + n, batch_size):
            numbers = range(begin, min(begin + batch_size, first + n))
            u = self._uniforms(seed, numbers)
            species = draw(start.log().expand(len(numbers), -1), u[:, 0, 0])
            pos = torch.zeros(len(numbers), 1, 3, device=self._device)
            growing = Growing.begin(
                self._numbers(numbers),
                species.unsqueeze(1),
                pos,
                self.model.config.max_atoms,
            )
            growing.log_prob[:, 0] = (start / start.sum()).log()[species]
            yield from self._grown(growing, u[:, 1:], temperature, seed, n_given=0)

    def complete(
        self,
        fragment: Atoms,
        n: int = 1,
        seed: int = 0,
        *,
        grow_from: Sequence[int] | None = None,
        batch_size: int = 256,
        temperature: Temperature | None = None,
    ) -> list[Atoms]:
        """Add atoms to a fragment until it is whole.

        The given atoms keep index, position, arrays and constraints; new atoms follow.

        Parameters
        ----------
        fragment
            Some atoms, not periodic, with at least one that is no hydrogen.
        n
            How many completions.
        seed
            Of the random numbers.
        grow_from
            Indices of the given atoms that something may be attached to; all by
            default. Atoms that are added are always allowed.
        batch_size
            Molecules that grow in step.
        temperature
            Below 1: safer and less varied.

        Raises
        ------
        ValueError
            If the fragment cannot be grown, or `grow_from` is out of range.
        """
        check_fragment(fragment, self.model.config, grow_from)
        room = max(self.model.config.max_atoms, len(fragment) + 1)
        whole: list[Atoms] = []
        for begin in range(0, n, batch_size):
            numbers = range(begin, min(begin + batch_size, n))
            growing = self._copies(fragment, numbers, room)
            if grow_from is not None:
                growing.may_focus[:, : len(fragment)] = False
                growing.may_focus[:, list(grow_from)] = True
            u = self._uniforms(seed, numbers)
            grown = self._grown(growing, u, temperature, seed, len(fragment))
            whole += [merged(fragment, atoms) for atoms in grown]
        return whole

    @torch.no_grad()
    def propose(
        self,
        fragment: Atoms,
        k: int = 10,
        seed: int = 0,
        *,
        temperature: Temperature | None = None,
    ) -> list[Proposal]:
        """Draw atoms that may come next, likely ones first.

        Parameters
        ----------
        fragment
            As for `complete`.
        k
            How many.
        seed
            Of the random numbers.
        temperature
            Below 1: safer and less varied.
        """
        check_fragment(fragment, self.model.config, None)
        temperature = temperature or Temperature()
        growing = self._copies(fragment, range(k), len(fragment) + 1)
        u = self._uniforms(seed, range(k))[:, 0]
        grown = step(self.model, growing, u, temperature, may_stop=False).growing
        last = len(fragment)
        proposals = [
            Proposal(
                int(grown.focus[i, last]),
                chemical_symbols[self.model.elements[int(grown.species[i, last])]],
                grown.pos[i, last].double().cpu().numpy(),
                float(grown.log_prob[i, last]),
            )
            for i in range(k)
        ]
        return sorted(proposals, key=lambda proposal: -proposal.log_prob)

    @torch.no_grad()
    def log_prob(self, atoms: Atoms, seed: int = 0) -> float:
        """Return the log probability density of building a molecule in a drawn order.

        Positions count per cubic Angstrom. Different seeds draw different orders, heavy
        atoms first; the molecule itself has the sum over all of them.

        Parameters
        ----------
        atoms
            A whole molecule.
        seed
            Of the order.
        """
        check_fragment(atoms, self.model.config, None)
        rng = np.random.default_rng(seed)
        z, pos = atoms.numbers[None].astype(np.int64), atoms.positions[None]
        batch = growth_of(z, pos, self.model.config, 0.0, rng).to(self._device)
        return float(growth_log_prob(self.model, batch)) + self._log_start(batch)

    def _log_start(self, batch: GrowthBatch) -> float:
        """Log probability of the first atom."""
        weights = np.array(self._start_weights())
        first = int(batch.fragments.molecules.heavy[0, 0])
        return float(np.log(weights[first] / weights.sum()))

    def _copies(self, fragment: Atoms, numbers: range, n_max: int) -> Growing:
        """Return a fragment so many times."""
        species = torch.from_numpy(species_of(fragment, self.model.elements))
        pos = torch.from_numpy(fragment.positions.astype(np.float32))
        n = len(numbers)
        return Growing.begin(
            self._numbers(numbers),
            species.to(self._device).repeat(n, 1),
            pos.to(self._device).repeat(n, 1, 1),
            n_max,
        )

    def _grown(
        self,
        growing: Growing,
        u: Tensor,
        temperature: Temperature | None,
        seed: int,
        n_given: int,
    ) -> Iterator[Atoms]:
        """Grow a batch and yield its molecules in order."""
        done: dict[int, Atoms] = {}

        def finished(part: Growing, stopped: Tensor) -> None:
            for k, whole in enumerate(stopped.tolist()):
                atoms = structure(part, k, n_given, self.model.elements)
                atoms.info |= {"generator": self.name, "seed": seed, "complete": whole}
                done[atoms.info["molecule"]] = atoms

        numbers = growing.number.tolist()
        grow(self.model, growing, u, temperature or Temperature(), finished)
        for number in numbers:
            yield done[number]

    @property
    def _device(self) -> torch.device:
        return self.model.embedding.device

    def _start_weights(self) -> list[float]:
        config = self.model.config
        return list(config.start) or [0.0, *[1.0] * (len(config.elements) - 1)]

    def _numbers(self, numbers: range) -> Tensor:
        return torch.tensor(list(numbers), device=self._device)

    def _uniforms(self, seed: int, numbers: range) -> Tensor:
        n_steps = self.model.config.max_atoms + 2
        return uniforms(seed, numbers, n_steps).to(self._device)
