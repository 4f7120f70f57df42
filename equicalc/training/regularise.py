"""Remedies against irreps that are there and not used: dropout and sparsity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from equicalc.models import taps_of

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from equicalc.models import Taps
    from equicalc.training.config import RegulariseConfig, TrainConfig

#: A loss and its terms, detached.
Loss = tuple[Tensor, dict[str, Tensor]]


def with_draw(batch: Data, config: TrainConfig, indices: np.ndarray) -> Data:
    """Give a batch the random number of its step, if a remedy needs one.

    It is a function of the structures, the same for a resumed run.
    """
    if config.regularise is not None:
        rng = np.random.default_rng([config.seed, *indices.tolist()])
        batch["draw"] = int(rng.integers(2**31))
    return batch


def regularised(
    loss: Callable[[], Loss],
    model: torch.nn.Module,
    batch: Data,
    remedy: RegulariseConfig | None,
) -> Loss:
    """Return a loss that is computed under a remedy, with the penalty of that.

    Parameters
    ----------
    loss
        Passes the batch through the model.
    model
        The network.
    batch
        See `with_draw`.
    remedy
        None: the loss as it is.
    """
    if remedy is None:
        return loss()
    taps = taps_of(model)
    dropout = irrep_dropout(taps, remedy.irrep_dropout, batch["draw"])
    with dropout, taps.recorded() as features:
        value, terms = loss()
    sparsity = irrep_sparsity(taps, features)
    terms["sparsity"] = sparsity.detach()
    return value + remedy.irrep_sparsity * sparsity, terms


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

    Raises
    ------
    ValueError
        If there is nothing that turns.

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
    if not sizes:
        raise ValueError(
            "regularise is for irreps with l > 0, and this network has none: leave it "
            "out, or give the network some"
        )
    return torch.cat(sizes).mean()
