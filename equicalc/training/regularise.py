"""Remedies against irreps that are there and not used: dropout and sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from equicalc.models import Taps


def irrep_dropout(
    taps: Taps, probability: float, seed: int
) -> AbstractContextManager[None]:
    """Return a context in which irreps other than scalars are silent by chance.

    A silent irrep has no influence at all in that pass. Nothing is rescaled: what is
    learned is to do with it and without it, as pruning asks for.

    Parameters
    ----------
    taps
        Of the network.
    probability
        That an irrep is silent.
    seed
        Of the draw.
    """
    names = [str(ir) for _, ir in taps.irreps if ir.l > 0]
    drawn = np.random.default_rng(seed).random(len(names))
    silent = [name for name, x in zip(names, drawn) if x < probability]
    return taps.scaled(dict.fromkeys(silent, 0.0)) if silent else nullcontext()


def irrep_sparsity(taps: Taps, outputs: Sequence[Any]) -> Tensor:
    r"""Return the mean root mean square of the channels of what turns, a scalar.

    .. math:: \frac{1}{n} \sum_{u=1}^{n} \sqrt{\langle |x_u|^2 \rangle}

    over the n channels u of all layers and irreps with l > 0; a penalty on it empties
    whole channels, as a group lasso does.

    Parameters
    ----------
    taps
        Of the network.
    outputs
        Of its layers, see `Taps.recorded`.

    References
    ----------
    .. [1] Yuan, Lin, "Model selection and estimation in regression with grouped
       variables", J. R. Stat. Soc. B 68, 49 (2006).
    """
    sizes = [
        (block.square().mean((0, 2)) + 1e-12).sqrt()  # (channels,)
        for tap, output in zip(taps.features, outputs)
        for name, block in tap.split(output).items()
        if not name.startswith("0")
    ]
    return torch.cat(sizes).mean()
