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
