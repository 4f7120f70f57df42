"""Random choices from given random numbers."""

import torch
from torch import Tensor


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw one of k by its logit: indices (n,) for logits (n, k) and uniform (n,).

    Examples
    --------
    >>> draw(torch.tensor([[0.0, 1.0, -torch.inf]]), torch.tensor([0.999]))
    tensor([1])
    """
    cumulative = logits.double().softmax(1).cumsum(1)
    threshold = uniform.double() * cumulative[:, -1]
    return torch.searchsorted(cumulative, threshold[:, None], right=True).squeeze(1)


def draw_and_rest(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draw as `draw` does, and return what is left of the random numbers.

    Returns
    -------
    chosen, uniform : (n,), (n,)
        What was drawn, and where in its share the random number fell, in [0, 1):
        uniform again, and independent of what was drawn.

    Examples
    --------
    >>> draw_and_rest(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([0.75]))
    (tensor([1]), tensor([0.5000], dtype=torch.float64))
    """
    chosen = draw(logits, uniform).unsqueeze(1)
    p = logits.double().softmax(1)
    before = (p.cumsum(1) - p).gather(1, chosen)
    rest = (uniform.double().unsqueeze(1) - before) / p.gather(1, chosen)
    return chosen.squeeze(1), rest.squeeze(1).clamp(0, 1 - 1e-12)
