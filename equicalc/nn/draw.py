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


def draw_mode(logits: Tensor, mode: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a mode of a distribution over cells.

    Parameters
    ----------
    logits : (n, n_cells)
        Of the cells.
    mode : (n, n_cells)
        The number of the mode of every cell, below n_cells.
    uniform : (n,)
        Random numbers in [0, 1).

    Returns
    -------
    chosen, uniform : (n, n_cells) bool, (n,)
        The cells of the mode, and what is left of the random number: where in the
        share of the mode it fell, in [0, 1).

    Examples
    --------
    >>> line = torch.tensor([[0.5, 0.1, 0.4]]).log()
    >>> draw_mode(line, torch.tensor([[0, 1, 1]]), torch.tensor([0.75]))
    (tensor([[False,  True,  True]]), tensor([0.5000], dtype=torch.float64))
    """
    p = logits.double().softmax(1)
    share = torch.zeros_like(p).scatter_add_(1, mode, p)
    chosen = draw(share.log(), uniform).unsqueeze(1)
    before = share.cumsum(1).gather(1, chosen) - share.gather(1, chosen)
    rest = (uniform.double().unsqueeze(1) - before) / share.gather(1, chosen)
    return mode == chosen, rest.squeeze(1).clamp(0, 1 - 1e-12)
