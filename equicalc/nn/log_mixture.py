"""Mixtures of log-normal densities: distributions of distances."""

import math

import torch
from torch import Tensor, nn

from equicalc.nn.draw import draw


class LogNormalMixture(nn.Module):
    r"""Densities :math:`p(r) = \sum_k \pi_k N(\log r; \mu_k, \sigma_k) / r` of r > 0.

    Centres and widths start spread over a range of distances; the input moves them.

    Parameters
    ----------
    n_in : int
        Features that a density is made from.
    n_components : int
        Terms of the mixture.
    nearest, farthest : float
        First centres, Angstrom.

    Examples
    --------
    >>> mixture = LogNormalMixture(4, 8, 0.9, 2.0)
    >>> r = torch.linspace(0.01, 20, 20001)
    >>> terms = mixture(torch.randn(1, 4)).expand(-1, len(r), -1, -1)
    >>> density = mixture.log_prob(terms, r.unsqueeze(0)).exp()
    >>> torch.trapezoid(density, r).detach().round(decimals=3)
    tensor([1.])
    """

    #: Smallest width of log r.
    NARROWEST = 2e-3
    #: Share of a term that is cut off on each side: half a step of uniform float32.
    TAIL = 2.0**-25

    centres: Tensor

    def __init__(
        self, n_in: int, n_components: int, nearest: float, farthest: float
    ) -> None:
        super().__init__()
        self.output = nn.Linear(n_in, 3 * n_components)
        self.width = math.log(farthest / nearest) / n_components
        centres = torch.linspace(math.log(nearest), math.log(farthest), n_components)
        self.register_buffer("centres", centres, False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn features (n, n_in) into log weights, centres and widths of log r.

        Returns
        -------
        Tensor
            (n, 1, 3, n_components), to be broadcast against distances.
        """
        weight, shift, width = self.output(x).chunk(3, -1)
        sigma = self.NARROWEST + self.width * torch.exp(width.clamp(-6, 2))
        centre = self.centres + self.width * shift
        return torch.stack([weight.log_softmax(-1), centre, sigma], -2).unsqueeze(1)

    @staticmethod
    def log_prob(terms: Tensor, r: Tensor) -> Tensor:
        """Return log densities per Angstrom, (n, k), at distances (n, k)."""
        log_weight, centre, sigma = terms.unbind(-2)  # (n, 1 or k, n_components)
        log_r = r.log()
        u = (log_r.unsqueeze(-1) - centre) / sigma
        gauss = -0.5 * u.square() - sigma.log() - 0.5 * math.log(2 * math.pi)
        return (log_weight + gauss).logsumexp(-1) - log_r

    def sample(
        self, terms: Tensor, uniform: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """Return distances (n,), within the range of the first centres and 15 % more.

        Parameters
        ----------
        terms : (n, 1, 3, n_components)
            Densities p.
        uniform : (n, 2)
            Random numbers in [0, 1).
        temperature
            Variances of log r are those of the terms times this; every term is drawn
            as often as its weight says. Sharpening p instead would turn double bonds
            into single ones.
        """
        margin = math.log(1.15)
        low, high = self.centres[0] - margin, self.centres[-1] + margin
        log_weight, centre, sigma = terms.double().squeeze(1).unbind(-2)
        width = math.sqrt(temperature) * sigma
        below, upto = (torch.special.ndtr((x - centre) / width) for x in (low, high))
        within = (upto - below).clamp(min=1e-300)  # not 0, should all terms be outside
        term = draw(log_weight + within.log(), uniform[:, 0]).unsqueeze(1)
        share = torch.lerp(
            below.gather(1, term), upto.gather(1, term), uniform[:, 1:].double()
        )
        normal = torch.special.ndtri(share.clamp(self.TAIL, 1 - self.TAIL))
        log_r = centre.gather(1, term) + width.gather(1, term) * normal
        return log_r.clamp(low, high).exp().squeeze(1).to(terms)
