"""Quasi-Newton minimisation of many small problems at once."""

from __future__ import annotations

from typing import Protocol, Self

import torch
from torch import Tensor

__all__ = ["BatchedBFGS", "Function"]

MAX_STEP = 0.4  # change of any number in a step
ENOUGH = 1e-4  # of the decrease that the slope promises
SHORTER = 0.3
FIRST_STEP = 0.1


class Function(Protocol):
    """A batch of functions of as many rows of numbers."""

    def energy(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values (n,) and gradients (n, d)."""
        ...


class BatchedBFGS:
    """Minimises n functions of d numbers each, in lockstep.

    Every step is one evaluation. A row whose value does not fall goes back and tries a
    shorter step; others update their inverse Hessian by the formula of Broyden,
    Fletcher, Goldfarb and Shanno [1]_.

    Parameters
    ----------
    x : (n, d)
        Where to start.

    References
    ----------
    .. [1] J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed., chapter 6.
    """

    def __init__(self, x: Tensor) -> None:
        n, d = x.shape
        self.x = x.clone()
        self.value = x.new_full((n,), torch.inf)
        self.gradient = torch.zeros_like(x)
        self.inverse = torch.eye(d, dtype=x.dtype).repeat(n, 1, 1)
        self.fresh = torch.ones(n, dtype=torch.bool)
        self.length = x.new_ones(n)

    def evaluate(self, function: Function) -> None:
        """Take values anew, after the functions have changed a little."""
        self.value, self.gradient = function.energy(self.x)

    def step(self, function: Function) -> None:
        """Move each row downhill, or shorten its next step.

        1. Newton step from the inverse Hessian; steepest descent where it leads up.
        2. No number changes by more than `MAX_STEP`.
        3. Rows that fell move, and learn from the change of their gradient.
        """
        # 1
        move = -(self.inverse @ self.gradient.unsqueeze(-1)).squeeze(-1)
        upward = (move * self.gradient).sum(1) >= 0
        self._forget(upward | ~torch.isfinite(move).all(dim=1))
        start = self.fresh.unsqueeze(1)
        steepest = self.gradient / self.gradient.norm(dim=1, keepdim=True).clamp(1e-9)
        move = torch.where(start, -FIRST_STEP * steepest, move)
        # 2
        largest = move.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
        move = move * self.length.unsqueeze(1) * (MAX_STEP / largest).clamp(max=1.0)
        # 3
        value, gradient = function.energy(self.x + move)
        promised = (move * self.gradient).sum(1)
        fell = value <= self.value + ENOUGH * promised
        self._learn(move, gradient - self.gradient, fell)
        self.x = torch.where(fell.unsqueeze(1), self.x + move, self.x)
        self.value = torch.where(fell, value, self.value)
        self.gradient = torch.where(fell.unsqueeze(1), gradient, self.gradient)
        longer = (self.length * 2).clamp(max=1.0)
        self.length = torch.where(fell, longer, self.length * SHORTER)
        self._forget(self.length < 1e-4)

    def keep(self, rows: Tensor) -> Self:
        """Go on with some rows only."""
        kept = object.__new__(type(self))
        for name, state in self.__dict__.items():
            setattr(kept, name, state[rows])
        return kept

    def _learn(self, move: Tensor, change: Tensor, fell: Tensor) -> None:
        """Update the inverse Hessians of the rows that fell."""
        curvature = (move * change).sum(1)
        size = change.square().sum(1)
        good = fell & (curvature > 1e-10 * size) & (size > 0)
        safe = torch.where(good, curvature, torch.ones_like(curvature))
        scale = safe / torch.where(good, size, torch.ones_like(size))
        identity = torch.eye(move.shape[1], dtype=move.dtype)
        first = (self.fresh & good)[:, None, None]
        inverse = torch.where(first, scale[:, None, None] * identity, self.inverse)
        rho = (1 / safe)[:, None, None]
        s, y = move.unsqueeze(-1), change.unsqueeze(-1)
        left = identity - rho * s @ y.transpose(1, 2)
        updated = left @ inverse @ left.transpose(1, 2) + rho * s @ s.transpose(1, 2)
        self.inverse = torch.where(good[:, None, None], updated, inverse)
        self.fresh = self.fresh & ~good

    def _forget(self, rows: Tensor) -> None:
        """Start anew with steepest descent."""
        self.fresh = self.fresh | rows
        self.length = torch.where(rows, torch.ones_like(self.length), self.length)
