"""Gated nonlinearity: invariants decide how much of every feature passes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: Largest magnitude of an invariant; those of real molecules are of order 1.
BOUND = 20.0


def bounded(x: Tensor) -> Tensor:
    """Squash smoothly into (-BOUND, BOUND), leaving small values as they are.

    Examples
    --------
    >>> bounded(torch.tensor([0.1, 1e9]))
    tensor([ 0.1000, 20.0000])
    """
    return x * torch.rsqrt(1 + (x / BOUND).square())


class InvariantGate(nn.Module):
    r"""Mix scalars with the norms of higher degrees, then gate.

    1. invariants: the scalars and, for every degree l > 0 and channel, the squared
       norm :math:`\sum_m x_{lm}^2 / (2l+1)`, all bounded by `BOUND`;
    2. a two-layer perceptron turns them into new scalars and one gate per channel
       of every degree l > 0;
    3. degree l > 0 is multiplied by its gate.

    The gates of NequIP see scalars only; the norms add three-body invariants for a
    price per node, not per edge. Because the invariants are bounded, so is the energy
    that a network reads from the new scalars, however dense the matter: a repulsion
    added to it wins in the end, if not at every density on the way.

    Parameters
    ----------
    ls : sequence of int
        Degrees of the input, starting with 0.
    channels : int
        Channels of every degree.
    width : int, optional
        Hidden width of the perceptron; as many as there are invariants by default.

    References
    ----------
    .. [1] Weiler et al., "3D steerable CNNs", NeurIPS 2018 (gates).
    .. [2] Schütt, Unke, Gastegger, "Equivariant message passing", ICML 2021 (norms).
    """

    def __init__(
        self, ls: Sequence[int], channels: int, width: int | None = None
    ) -> None:
        super().__init__()
        n = len(ls) * channels
        self.hidden = nn.Linear(n, width or n)
        self.output = nn.Linear(width or n, n)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Gate features, a list of (n_nodes, 2l+1, channels) beginning with l = 0.

        Returns
        -------
        Tensor
            (n_nodes, sum 2l+1, channels).
        """
        scalars, *tensors = features
        # 1. invariants
        norms = [x.square().mean(1) for x in tensors]  # (n_nodes, channels) each
        invariants = bounded(torch.cat([scalars.squeeze(1), *norms], 1))
        # 2. new scalars and gates
        mixed = self.output(nn.functional.silu(self.hidden(invariants)))
        new, *gates = mixed.unsqueeze(1).chunk(len(features), 2)
        # 3. gated features
        gated = [x * gate for x, gate in zip(tensors, gates)]
        return torch.cat([new, *gated], 1)


class ScalarGate(nn.Module):
    """Gate every channel of degree l > 0 by a scalar of its own.

    The input has these scalars after the others: those pass a SiLU, the gates a
    sigmoid. No parameters.

    References
    ----------
    .. [1] Weiler et al., "3D steerable CNNs", NeurIPS 2018.

    Examples
    --------
    >>> out = ScalarGate()([torch.zeros(2, 1, 7), torch.ones(2, 3, 4)])
    >>> [x.shape[2] for x in out], out[1][0, 0, 0].item()
    ([3, 4], 0.5)
    """

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Gate features, (n_nodes, 2l+1, channels) of every degree beginning with 0."""
        scalars, *tensors = features
        sizes = [x.shape[2] for x in tensors]
        new, *gates = scalars.split([scalars.shape[2] - sum(sizes), *sizes], 2)
        gated = [x * torch.sigmoid(gate) for x, gate in zip(tensors, gates)]
        return [nn.functional.silu(new), *gated]


class NormGate(nn.Module):
    """Gate every channel by its own norm; no parameters.

    Scalars pass a SiLU; degree l > 0 is multiplied by the sigmoid of the mean square
    of its components.
    """

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Gate features, (n_nodes, 2l+1, channels) of every degree, 0 among them."""
        return [
            nn.functional.silu(x)
            if x.shape[1] == 1
            else x * torch.sigmoid(x.square().mean(1, keepdim=True))
            for x in features
        ]
