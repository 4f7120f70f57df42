"""From numbers and rules to grown molecules: what the builder does for every batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from numbers import Integral
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from equicalc.models import Generator
from equicalc.nn.draw import draw

from .constraints import Constraints
from .fragments import species_of
from .growing import Growing
from .rules import Rules
from .steps import Temperature, grow
from .streams import uniforms
from .structures import merged, structure

__all__ = ["PRECISION", "Sampler", "batches", "check_numbers"]

#: Of growing molecules. A sum is rounded differently in batches of another size, and
#: every atom makes the difference larger: single precision would change molecules.
PRECISION = torch.float64


class Sampler:
    """Begins and grows batches of molecules.

    Parameters
    ----------
    model : Generator
        A trained network, in `PRECISION`.
    name, weights : str
        What to call it in the provenance.
    """

    def __init__(self, model: Generator, name: str, weights: str = "") -> None:
        self.model = model
        self.name = name
        self.weights = weights

    def provenance(
        self,
        temperature: Temperature,
        rules: Rules,
        grow_from: Sequence[int] | None,
        bare: bool = False,
    ) -> dict[str, Any]:
        """Return what decides about molecules, beside seed, number and fragment.

        Raises
        ------
        ValueError
            If no molecule can keep to the rules.
        """
        rules = rules.settled(self.model.config)
        rules.quota(self.model.config)  # refuses formulas that have no text
        text = rules.text()
        if grow_from is not None:
            text += f", grow from {' '.join(map(str, sorted(set(grow_from))))}"
        if bare:
            text += ", hydrogens anew"
        named = {"weights": self.weights} if self.weights else {}
        return {"generator": self.name, **named, "rules": text} | (
            temperature.provenance()
        )

    def first_atoms(self, numbers: range, uniform: Tensor, rules: Rules) -> Growing:
        """Begin molecules with one atom each."""
        weights = torch.tensor(self.start_weights(), device=self.device)
        if quota := rules.quota(self.model.config):
            allowed = torch.tensor(quota, device=self.device) > 0
            # a model that always begins with what is not allowed begins with the rest
            usual = weights.where(allowed, 0.0)
            weights = usual if usual.any() else allowed.to(weights)
        logits = weights.log()
        species = draw(logits.expand(len(numbers), -1), uniform)
        growing = Growing.begin(
            self._numbers(numbers),
            species.unsqueeze(1),
            torch.zeros(len(numbers), 1, 3, dtype=PRECISION, device=self.device),
            torch.full_like(species, rules.room(self.model.config.max_atoms)),
        )
        growing.log_prob[:, 0] = logits.log_softmax(0)[species]
        return growing

    def given(
        self, fragments: Sequence[Atoms], numbers: range, rules: Rules
    ) -> Growing:
        """Begin with fragments, one for each number; each grows from its centroid.

        Distances far from the origin would not be exact.
        """
        n_given = [len(fragment) for fragment in fragments]
        n, width = len(fragments), max(n_given)
        most = self.model.config.max_atoms
        species = np.zeros((n, width), np.int64)
        pos = np.zeros((n, width, 3))
        origin = np.array([fragment.positions.mean(axis=0) for fragment in fragments])
        for k, fragment in enumerate(fragments):
            species[k, : n_given[k]] = species_of(fragment, self.model.elements)
            pos[k, : n_given[k]] = fragment.positions - origin[k]
        return Growing.begin(
            self._numbers(numbers),
            torch.from_numpy(species).to(self.device),
            torch.from_numpy(pos).to(self.device),
            torch.tensor([rules.room(most, n) for n in n_given], device=self.device),
            torch.tensor(n_given, device=self.device),
            torch.from_numpy(origin).to(self.device),
        )

    def grown(
        self,
        growing: Growing,
        uniform: Tensor,
        seed: int,
        temperature: Temperature | None,
        rules: Rules,
        given: Sequence[Atoms] = (),
        grow_from: Sequence[int] | None = None,
        bare: bool = False,
    ) -> Iterator[Atoms]:
        """Grow a batch and yield its molecules in order, merged with what was given.

        The hydrogens of a bare fragment may come anywhere.
        """
        temperature = temperature or Temperature()
        info = {"seed": seed, **self.provenance(temperature, rules, grow_from, bare)}
        if grow_from is not None:
            growing.may_focus[:, : len(given[0]), int(bare) :] = False
            growing.may_focus[:, list(grow_from)] = True
        numbers = growing.number.tolist()
        fragments = dict(zip(numbers, given))
        done: dict[int, Atoms] = {}

        def finished(part: Growing, stopped: Tensor) -> None:
            for k, whole in enumerate(stopped.tolist()):
                number = int(part.number[k])
                fragment = fragments.get(number, Atoms())
                atoms = structure(part, k, len(fragment), self.model.elements)
                atoms.info |= info | {"complete": whole}
                done[number] = merged(fragment, atoms) if number in fragments else atoms

        constraints = self.constraints(rules)
        grow(self.model, growing, uniform, temperature, constraints, finished)
        for number in numbers:
            yield done[number]

    def constraints(self, rules: Rules) -> Constraints:
        """Prepare rules for the model."""
        return Constraints.of(rules, self.model, self.device)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def start_weights(self) -> list[float]:
        """Return how often molecules begin with every element, not normalised."""
        config = self.model.config
        others = [1.0] * (len(config.elements) - 1)
        return list(config.start) or [0.0, *others]

    def _numbers(self, numbers: range) -> Tensor:
        return torch.tensor(list(numbers), device=self.device)

    def uniforms(self, seed: int, numbers: range, rules: Rules) -> Tensor:
        """Return the random numbers of some molecules, see `streams`."""
        n_steps = (rules.room(self.model.config.max_atoms) + 2) * (1 + rules.retreats)
        attempts = rules.attempts if rules.rejects else 1
        return uniforms(seed, numbers, n_steps, attempts).to(self.device)


def check_numbers(n: int | None, first: int, size: int) -> None:
    """Raise ValueError if there is no such number of molecules, or of a batch."""
    if odd := [k for k in (n or 0, first, size) if not isinstance(k, Integral)]:
        raise ValueError(
            f"{odd[0]!r} was given as a number of molecules: give integers"
        )
    if (n is not None and n < 0) or first < 0 or size < 1:
        raise ValueError(
            f"n is {n}, first {first} and batch_size {size}; give at least 0, 0 and 1"
        )


def batches(n: int | None, first: int, size: int) -> Iterator[range]:
    """Yield the numbers of batches; without end if n is None.

    Raises
    ------
    ValueError
        See `check_numbers`.
    """
    check_numbers(n, first, size)
    end = None if n is None else first + n
    for begin in count(first, size):
        if end is not None and begin >= end:
            return
        yield range(begin, begin + size if end is None else min(begin + size, end))
