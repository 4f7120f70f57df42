"""Searches: which molecules the next round is to vary, given the scores so far."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Evolution", "Member", "MonteCarlo", "Population", "Search", "tempering"]


@dataclass(frozen=True)
class Member:
    """A molecule with a score.

    Attributes
    ----------
    key
        Of its record.
    atoms
        The molecule.
    score
        Its own, or that of its best crystal.
    smiles
        What it is.
    """

    key: str
    atoms: Atoms
    score: float
    smiles: str


@dataclass(frozen=True)
class Population:
    """What a search remembers from round to round.

    Attributes
    ----------
    members
        Molecules that may have offspring.
    beta
        Inverse temperature of `MonteCarlo`, in units of one over the score.
    """

    members: tuple[Member, ...] = ()
    beta: float = 0.0


class Search(BaseModel, ABC):
    """How a design learns from its scores; its fields are its configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @abstractmethod
    def parents(
        self, population: Population, n: int, rng: np.random.Generator
    ) -> list[Member | None]:
        """Say of whom the next `n` molecules are variants; None is a new molecule.

        New molecules come first.
        """

    @abstractmethod
    def updated(
        self,
        population: Population,
        offspring: Sequence[Member | None],
        n: int,
        rng: np.random.Generator,
    ) -> Population:
        """Return the population after a round.

        Parameters
        ----------
        population
            That `parents` was asked with.
        offspring
            One for each of the parents; None if it was rejected.
        n
            Molecules of a round.
        rng
            Random numbers of this round.
        """


class Evolution(Search):
    """The best molecules so far have offspring, the better the more.

    Attributes
    ----------
    survivors
        Molecules that are kept as parents.
    fresh
        Share of new molecules in every round after the first.
    """

    survivors: int = Field(default=16, ge=1)
    fresh: float = Field(default=0.2, ge=0, le=1)

    def parents(
        self, population: Population, n: int, rng: np.random.Generator
    ) -> list[Member | None]:
        """Draw parents with weights that fall linearly with their rank."""
        members = population.members
        if not members:
            return [None] * n
        n_fresh = round(self.fresh * n)
        weights = np.arange(len(members), 0, -1.0)
        drawn = rng.choice(len(members), n - n_fresh, p=weights / weights.sum())
        return [*[None] * n_fresh, *(members[k] for k in drawn)]

    def updated(
        self,
        population: Population,
        offspring: Sequence[Member | None],
        n: int,
        rng: np.random.Generator,
    ) -> Population:
        """Keep the best, each molecule once."""
        everyone = [*population.members, *(one for one in offspring if one)]
        best: dict[str, Member] = {}
        for one in sorted(everyone, key=lambda member: (-member.score, member.key)):
            best.setdefault(one.smiles, one)
        return Population(tuple(best.values())[: self.survivors])


class MonteCarlo(Search):
    r"""Sequential Monte Carlo: from the generator's molecules to those of high score.

    Round after round the population moves through distributions proportional to
    :math:`p(x) \exp(\beta s(x))`, where p is what the generator makes, s the score
    and :math:`\beta` grows from 0:

    1. every member proposes a variant, which replaces it with probability
       :math:`\min(1, \exp(\beta (s' - s)))`;
    2. :math:`\beta` grows until the effective size of the reweighted population has
       fallen to a share of its size;
    3. members are drawn anew, by their weights.

    A part of a molecule that is grown anew comes from the generator itself, so that p
    cancels in step 1, but for the choice of the part and the order of atoms, which are
    taken as equally likely both ways.

    Attributes
    ----------
    effective_size
        Share of step 2: lower is greedier.

    References
    ----------
    .. [1] Del Moral, Doucet, Jasra, "Sequential Monte Carlo samplers", J. R. Stat.
       Soc. B 68, 411 (2006).
    """

    effective_size: float = Field(default=0.5, gt=0, lt=1)

    def parents(
        self, population: Population, n: int, rng: np.random.Generator
    ) -> list[Member | None]:
        """Vary every member once."""
        return list(population.members) or [None] * n

    def updated(
        self,
        population: Population,
        offspring: Sequence[Member | None],
        n: int,
        rng: np.random.Generator,
    ) -> Population:
        """Accept or refuse each offspring, then reweight and draw anew."""
        moved = [one for one in offspring if one]
        if population.members:
            chances = rng.random(len(population.members))
            moved = [
                new if new and _accepted(old, new, population.beta, chance) else old
                for old, new, chance in zip(population.members, offspring, chances)
            ]
        if not moved:
            return population
        scores = np.array([one.score for one in moved])
        step = tempering(scores, self.effective_size)
        drawn = _resampled(_weights(step * scores), n, rng)
        return Population(tuple(moved[k] for k in drawn), beta=population.beta + step)


def tempering(scores: NDArray[np.float64], share: float) -> float:
    """Return the inverse temperature at which the effective size is a share of n.

    Parameters
    ----------
    scores : (n,)
    share
        Of the effective size, above 1 / n to be reached; 0 is returned if all scores
        are the same.

    Examples
    --------
    >>> scores = np.arange(10.0)
    >>> beta = tempering(scores, 0.5)
    >>> weights = np.exp(beta * scores) / np.exp(beta * scores).sum()
    >>> round(float(1 / (weights**2).sum()), 3)
    5.0
    """
    spread = float(np.ptp(scores))
    if spread == 0:
        return 0.0
    low, high = 0.0, 50.0 / spread
    for _ in range(60):
        middle = (low + high) / 2
        weights = _weights(middle * scores)
        if 1 / (weights**2).sum() > share * len(scores):
            low = middle
        else:
            high = middle
    return low


def _accepted(old: Member, new: Member, beta: float, chance: float) -> bool:
    return chance < np.exp(min(0.0, beta * (new.score - old.score)))


def _weights(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


def _resampled(
    weights: NDArray[np.float64], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw n of them with evenly spaced pointers, which adds the least noise."""
    pointers = (rng.random() + np.arange(n)) / n
    return np.searchsorted(np.cumsum(weights), pointers).clip(max=len(weights) - 1)
