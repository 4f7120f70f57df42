"""Muon: weight matrices move along the orthogonal part of their momentum.

AdamW scales every number by itself; here all singular values of a step are made about
equal, so that rare directions of a matrix are learned as fast as strong ones.
K. Jordan et al., https://kellerjordan.github.io/posts/muon (2024); the scale that keeps
the learning rates of AdamW is from J. Liu et al., arXiv:2502.16982 (2025).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonal_part"]

MOMENTUM = 0.95
QUINTIC = (3.4445, -4.7750, 2.0315)  # of the iteration, steepest at 0
ITERATIONS = 5
RMS = 0.2  # of an element's step at a learning rate of 1, as that of AdamW
SMALLEST = 8  # rows and columns of what counts as a matrix


class Muon(torch.optim.AdamW):
    """Muon for matrices, AdamW for all other weights.

    Parameters
    ----------
    parameters
        Weights. Those with at least 8 rows and columns (their last two dimensions) are
        matrices; vectors, small tables and the like are left to AdamW.
    lr, weight_decay
        Of both: a learning rate that suits AdamW suits Muon.
    betas
        Of AdamW.

    Examples
    --------
    >>> layer = torch.nn.Linear(8, 16)
    >>> optimizer = Muon(layer.parameters(), lr=0.1)
    >>> layer(torch.ones(8)).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr=lr, betas=betas, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_matrices(group)
        super().step()
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        """Move the matrices and take their gradients away: AdamW passes over them."""
        of_shape = defaultdict(list)
        for weight in group["params"]:
            if weight.grad is not None and _is_matrix(weight):
                of_shape[weight.shape[-2:]].append(weight)
        for (rows, columns), weights in of_shape.items():
            steps = torch.cat(
                [self._momentum(w).view(-1, rows, columns) for w in weights]
            )
            steps = orthogonal_part(steps) * (RMS * max(rows, columns) ** 0.5)
            sizes = [weight.numel() // (rows * columns) for weight in weights]
            for weight, step in zip(weights, steps.split(sizes)):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(group["lr"] * step.view_as(weight))
                weight.grad = None

    def _momentum(self, weight: Tensor) -> Tensor:
        """Add the gradient to the momentum; return Nesterov's."""
        gradient, state = cast(Tensor, weight.grad), self.state[weight]
        if not state:
            state["step"] = torch.zeros(())  # AdamW looks for it when states are loaded
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(state["momentum"], MOMENTUM)


def orthogonal_part(matrices: Tensor) -> Tensor:
    """Return about U V^T of matrices U S V^T, by Newton-Schulz iterations.

    Parameters
    ----------
    matrices : (..., rows, columns)
        Of any scale.

    Returns
    -------
    : (..., rows, columns)
        Singular values are from 0.65 to 1.25, but those below a hundredth of the
        largest are smaller.

    Examples
    --------
    >>> orthogonal_part(torch.diag(torch.tensor([100.0, 1.0]))).diag().round(decimals=1)
    tensor([0.7000, 0.7000])
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if tall else matrices
    wide = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-30)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        square = wide @ wide.mT
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide.mT if tall else wide


def _is_matrix(weight: Tensor) -> bool:
    """Whether a weight has enough rows and columns."""
    return weight.dim() >= 2 and min(weight.shape[-2:]) >= SMALLEST
