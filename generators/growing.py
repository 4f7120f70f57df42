"""Grow many molecules in step, atom by atom, until the model says stop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from equicalc.data.fragment_batch import FragmentBatch, Molecules
from equicalc.models import Symphony
from equicalc.nn.draw import draw

__all__ = ["Growing", "Step", "Temperature", "grow", "step"]


@dataclass(frozen=True)
class Temperature:
    """How boldly to draw: 1 as the model was trained, below 1 more careful.

    The defaults are those that the errors of the shipped generator were measured with.

    Attributes
    ----------
    focus
        Of focus, species and stopping.
    position
        Of distance and direction.
    """

    focus: float = 0.8
    position: float = 0.3

    def __post_init__(self) -> None:
        if not (self.focus > 0 and self.position > 0):
            raise ValueError(
                f"temperatures must be positive, got focus {self.focus} and position "
                f"{self.position}"
            )


@dataclass(frozen=True)
class Growing:
    """Molecules on their way; atoms in the order in which they were placed.

    Attributes
    ----------
    number : (n,)
        Number of each molecule, for its random stream.
    n_atoms : (n,)
        Atoms so far.
    species : (n, n_max)
        Index into the model's elements.
    pos : (n, n_max, 3), Angstrom
        Positions.
    focus : (n, n_max)
        Atom that it was attached to; -1 for given ones.
    log_prob : (n, n_max)
        Of focus, species and position (per cubic Angstrom), at temperature 1.
    may_focus : (n, n_max) bool
        Whether something may be attached to the atom.
    """

    number: Tensor
    n_atoms: Tensor
    species: Tensor
    pos: Tensor
    focus: Tensor
    log_prob: Tensor
    may_focus: Tensor

    @classmethod
    def begin(cls, number: Tensor, species: Tensor, pos: Tensor, n_max: int) -> Self:
        """Start from the same number of given atoms each.

        Parameters
        ----------
        number : (n,)
        species : (n, n_given)
        pos : (n, n_given, 3), Angstrom
        n_max
            Atoms to make room for.
        """
        n, n_given = species.shape
        room = n_max - n_given
        return cls(
            number,
            torch.full((n,), n_given, device=pos.device),
            torch.cat([species, species.new_zeros(n, room)], 1),
            torch.cat([pos, pos.new_zeros(n, room, 3)], 1),
            torch.full((n, n_max), -1, device=pos.device),
            pos.new_zeros(n, n_max),
            torch.ones(n, n_max, dtype=torch.bool, device=pos.device),
        )

    def __len__(self) -> int:
        return len(self.number)

    def __getitem__(self, chosen: Tensor) -> Self:
        """Return some of the molecules, copied."""
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return type(self)(*(values[chosen] for values in fields))

    def append(
        self, species: Tensor, pos: Tensor, focus: Tensor, log_prob: Tensor
    ) -> None:
        """Add an atom to each, in place; arguments (n,), and (n, 3) positions."""
        rows = torch.arange(len(self), device=pos.device)
        self.species[rows, self.n_atoms] = species
        self.pos[rows, self.n_atoms] = pos
        self.focus[rows, self.n_atoms] = focus
        self.log_prob[rows, self.n_atoms] = log_prob
        self.n_atoms.add_(1)

    def fragments(self, model: Symphony) -> tuple[FragmentBatch, Tensor]:
        """Return what the model sees, and the atom behind every heavy one.

        Returns
        -------
        batch, atom
            One fragment each, and (n, n_heavy_max).
        """
        there = torch.arange(self.species.shape[1], device=self.pos.device)
        there = there < self.n_atoms[:, None]
        heavy, hydrogen = there & (self.species > 0), there & (self.species == 0)
        atom, hydrogens = _compact(heavy), _compact(hydrogen)
        rows = torch.arange(len(self), device=self.pos.device)[:, None]
        molecules = Molecules(
            self.species[rows, atom], self.pos[rows, atom], self.pos[rows, hydrogens]
        )
        batch = FragmentBatch.build(
            molecules,
            rows[:, 0],
            heavy.sum(1),
            hydrogen.sum(1),
            model.config.cutoff,
            model.config.hydrogen_cutoff,
        )
        return batch, atom


class Step(NamedTuple):
    """What a step did: molecules that ended, whether by stopping, and the others."""

    ended: Growing
    stopped: Tensor
    growing: Growing
    rows: Tensor


@torch.no_grad()
def grow(
    model: Symphony,
    growing: Growing,
    uniform: Tensor,
    temperature: Temperature,
    finished: Callable[[Growing, Tensor], None],
) -> None:
    """Grow molecules until each one stops or has no room left.

    Parameters
    ----------
    model
        Says what comes next.
    growing
        Where to start; not changed.
    uniform : (n, n_steps, DRAWS)
        Random numbers, see `equicalc.generators.streams`.
    temperature
        Of the draws.
    finished
        Takes molecules as they end, and (n,) whether the model said stop.
    """
    number = 0
    while len(growing):
        done = step(model, growing, uniform[:, number], temperature)
        if len(done.ended):
            finished(done.ended, done.stopped)
        growing, uniform, number = done.growing, uniform[done.rows], number + 1


def step(
    model: Symphony,
    growing: Growing,
    uniform: Tensor,
    temperature: Temperature,
    may_stop: bool = True,
) -> Step:
    """Add one atom to each molecule that does not end.

    Parameters
    ----------
    model
        Says what comes next.
    growing
        Fragments; not changed.
    uniform : (n, DRAWS)
        Random numbers.
    temperature
        Of the draws.
    may_stop
        Whether stopping is an answer.
    """
    # 1. focus and species, or stop
    batch, atom = growing.fragments(model)
    h = model.embed(batch)
    logits = _focus_logits(model.focus_logits(h, batch), batch, atom, growing)
    stopping = logits.shape[1] - 1
    chances = logits / temperature.focus
    if not may_stop:
        chances[:, stopping] = -torch.inf
    choice = draw(chances, uniform[:, 0])
    log_prob = logits.log_softmax(1).gather(1, choice.unsqueeze(1)).squeeze(1)
    stop = choice == stopping
    ended = stop | (growing.n_atoms == growing.species.shape[1])
    rows = (~ended).nonzero().squeeze(1)
    others = growing[rows]
    if len(rows):
        # 2. position
        focus = choice[rows] // len(model.elements)
        species = choice[rows] % len(model.elements)
        queries = batch.queries(rows, focus, species, model.config.cutoff)
        placement = model.place(h, queries)
        vectors = placement.sample(uniform[rows, 1:], temperature.position)
        radial, angular = placement.log_prob(vectors)
        density = radial + angular - vectors.square().sum(1).log()
        home = atom[rows, focus]
        centre = others.pos[torch.arange(len(rows), device=home.device), home]
        others.append(species, centre + vectors, home, log_prob[rows] + density)
    return Step(growing[ended], stop[ended], others, rows)


def _focus_logits(
    logits: Tensor, batch: FragmentBatch, atom: Tensor, growing: Growing
) -> Tensor:
    """Spread logits of pairs, (n_pairs, n_elements), over rows with stop at the end."""
    n_elements = logits.shape[1]
    table = logits.new_full((*atom.shape, n_elements), -torch.inf)
    place = batch.pair_node - batch.first_node[batch.pair_fragment]
    table[batch.pair_fragment, place] = logits
    allowed = growing.may_focus.gather(1, atom)  # (n, n_heavy_max)
    table = table.masked_fill(~allowed.unsqueeze(2), -torch.inf).flatten(1)
    return torch.cat([table, table.new_zeros(len(table), 1)], 1)


def _compact(mask: Tensor) -> Tensor:
    """Return the columns of true entries, up to the number of the fullest row."""
    width = int(mask.sum(1).max())
    return mask.int().argsort(dim=1, descending=True, stable=True)[:, :width]
