"""Steps of growth: draw focus, species and position; keep to the rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from equicalc.data.fragment_batch import FragmentBatch
from equicalc.models import Generator
from equicalc.nn.draw import draw

from .constraints import Constraints
from .growing import Addition, Growing

__all__ = ["Step", "Temperature", "grow", "step"]

#: Log probability that a choice loses when its position was refused: the way on may be
#: another one.
REFUSED = 1.0


@dataclass(frozen=True)
class Temperature:
    """How boldly to draw: 1 as the model was trained, below 1 more careful.

    The defaults are those that the errors of the shipped generator were measured with.

    Attributes
    ----------
    focus
        Of focus, species and stopping.
    position
        Of the distance and of the direction. `Symphony` narrows every term of its
        densities and draws it as often as before: single and double bonds stay as
        frequent as the model says. `SymphonyPaper` sharpens all, as published.
    """

    focus: float = 1.1
    position: float = 0.02

    def __post_init__(self) -> None:
        if not (self.focus > 0 and self.position > 0):
            raise ValueError(
                f"temperatures must be positive, got focus {self.focus} and position "
                f"{self.position}"
            )

    def provenance(self) -> dict[str, float]:
        """Return what a structure says about it."""
        return {
            "focus_temperature": self.focus,
            "position_temperature": self.position,
        }


@dataclass(frozen=True)
class Skeletons:
    """What a model made of the heavy atoms of molecules: hydrogens do not change it.

    Attributes
    ----------
    features : (n_nodes, ...)
        Of all of them, end to end.
    n_heavy : (n,)
        How many each molecule had then: another number now means other features.
    """

    features: Tensor
    n_heavy: Tensor

    def __getitem__(self, rows: Tensor) -> Self:
        """Return those of some molecules, in their order."""
        chosen = torch.zeros_like(self.n_heavy, dtype=torch.bool)
        chosen[rows] = True
        nodes = chosen.repeat_interleave(self.n_heavy)
        return type(self)(self.features[nodes], self.n_heavy[chosen])


class Step(NamedTuple):
    """What a step did: molecules that ended, whether by stopping, and the others.

    Of these also the rows where they were, and what the model made of them.
    """

    ended: Growing
    stopped: Tensor
    growing: Growing
    rows: Tensor
    known: Skeletons | None


@torch.no_grad()
def grow(
    model: Generator,
    growing: Growing,
    uniform: Tensor,
    temperature: Temperature,
    constraints: Constraints,
    finished: Callable[[Growing, Tensor], None],
) -> None:
    """Grow molecules until each one stops, or is stuck and has no retreats left.

    Parameters
    ----------
    model
        Says what comes next.
    growing
        Where to start; not changed.
    uniform : (n, n_steps, n_attempts, DRAWS)
        Random numbers, see `equicalc.generators.streams`.
    temperature
        Of the draws.
    constraints
        What may come.
    finished
        Takes molecules as they end, and (n,) whether the model said stop.
    """
    number, known = 0, None
    while len(growing):
        done = step(
            model, growing, uniform[:, number], temperature, constraints, known=known
        )
        if len(done.ended):
            finished(done.ended, done.stopped)
        growing, uniform, number = done.growing, uniform[done.rows], number + 1
        known = done.known


def step(
    model: Generator,
    growing: Growing,
    uniform: Tensor,
    temperature: Temperature,
    constraints: Constraints,
    may_stop: bool = True,
    known: Skeletons | None = None,
) -> Step:
    """Add an atom to each molecule, take some back, or end it.

    1. Logits of focus and species, and of stopping; what may not come is left out.
    2. Draw one of them, then a position; where the constraints do not accept the atom,
       the choice becomes less likely, and other random numbers are tried.
    3. Molecules that are full, or were refused in all attempts, take atoms back. Those
       end that stop, and that may not retreat any more.

    Parameters
    ----------
    model
        Says what comes next.
    growing
        Fragments; not changed.
    uniform : (n, n_attempts, DRAWS)
        Random numbers.
    temperature
        Of the draws.
    constraints
        What may come.
    may_stop
        Whether stopping is an answer.
    known
        What the step before returned.
    """
    # 1. logits
    view = _View.of(model, growing, known)
    stopping = view.logits.shape[1] - 1
    allowed = constraints.allowed(growing, view.atom) & view.logits.isfinite()
    allowed[:, stopping] &= may_stop
    lost = ~allowed.any(1)
    allowed[lost, stopping] = True
    chances = (view.logits / temperature.focus).masked_fill(~allowed, -torch.inf)
    # 2. draws
    full = growing.n_atoms >= growing.room
    stopped, grown = torch.zeros_like(full), torch.zeros_like(full)
    undecided, after = torch.ones_like(full), growing.copy()
    for numbers in uniform.unbind(1):
        rows = undecided.nonzero().squeeze(1)
        choice = draw(chances[rows], numbers[rows, 0])
        stopped[rows] = choice == stopping
        undecided[rows] = ~(stopped | full)[rows]
        choice, rows = choice[undecided[rows]], undecided.nonzero().squeeze(1)
        if not len(rows):
            break
        new = view.place(rows, choice, numbers[rows, 1:], temperature.position)
        good = constraints.accept(growing[rows], new)
        after.append(rows[good], new[good])
        grown[rows[good]], undecided[rows[good]] = True, False
        refused = rows[~good]
        chances[refused, choice[~good]] -= REFUSED
        chances[refused, stopping] = -torch.inf  # that a way is barred is no end
    # 3. ends
    astray = ~(grown | stopped) | lost
    astray &= growing.retreats < constraints.rules.retreats
    grown[after.retreat(astray.nonzero().squeeze(1))] = True
    ended = ~grown
    rows = grown.nonzero().squeeze(1)
    known = None
    if model.hydrogens_apart:
        known = Skeletons(view.h, view.batch.n_heavy)[rows]
    return Step(after[ended], (stopped & ~lost)[ended], after[grown], rows, known)


@dataclass(frozen=True)
class _View:
    """What a model says of growing molecules.

    Attributes
    ----------
    model, growing
        Both.
    batch, atom
        Fragments, and the atom behind every possible focus, (n, n_foci).
    h
        Features of the fragments.
    logits : (n, n_foci * n_elements + 1)
        Of focus and species; stopping is last.
    """

    model: Generator
    growing: Growing
    batch: FragmentBatch
    atom: Tensor
    h: Any
    logits: Tensor

    @classmethod
    def of(cls, model: Generator, growing: Growing, known: Skeletons | None) -> Self:
        """Ask the model what is not known of the step before."""
        batch, atom = growing.fragments(model)
        h = _embedded(model, growing, batch, known)
        logits = model.focus_logits(h, batch)  # (n_pairs, n_elements)
        table = logits.new_full((*atom.shape, logits.shape[1]), -torch.inf)
        place = batch.pair_node - batch.first_node[batch.pair_fragment]
        table[batch.pair_fragment, place] = logits
        rows = torch.arange(len(growing), device=atom.device)[:, None]
        is_heavy = torch.arange(logits.shape[1], device=atom.device).clamp(max=1)
        may_focus = growing.may_focus[rows, atom][..., is_heavy]
        table = table.masked_fill(~may_focus, -torch.inf).flatten(1)
        table = torch.cat([table, table.new_zeros(len(table), 1)], 1)
        return cls(model, growing, batch, atom, h, table)

    def place(
        self, rows: Tensor, choice: Tensor, uniform: Tensor, temperature: float
    ) -> Addition:
        """Draw positions for choices of focus and species in some molecules."""
        n_elements = len(self.model.elements)
        rank, species = choice // n_elements, choice % n_elements
        cutoff = self.model.config.cutoff
        queries = self.batch.queries(rows, rank, species, cutoff)
        placement = self.model.place(self.h, queries)
        vectors = placement.sample(uniform, temperature)
        radial, angular = placement.log_prob(vectors)
        density = radial + angular - vectors.square().sum(1).log()
        chosen = self.logits.log_softmax(1)[rows, choice]
        focus = self.atom[rows, rank]
        pos = self.growing.pos[rows, focus] + vectors
        return Addition(species, pos, focus, chosen + density)


def _embedded(
    model: Generator, growing: Growing, batch: FragmentBatch, known: Skeletons | None
) -> Any:
    """Return the features of fragments; only skeletons that have grown are new."""
    if known is None:
        return model.embed(batch)
    new = known.n_heavy != batch.n_heavy
    nodes = new.repeat_interleave(batch.n_heavy)
    h = known.features.new_empty(len(nodes), *known.features.shape[1:])
    h[~nodes] = known.features[~new.repeat_interleave(known.n_heavy)]
    if new.any():
        h[nodes] = model.embed(growing[new].fragments(model)[0])
    return h
