"""Densities of positions on shells around a focus, as published for Symphony."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equicalc.nn.draw import draw
from equicalc.nn.sphere import SphereDensity, sphere_grid
from equicalc.nn.sphere_sampler import SphereSampler

__all__ = ["ShellDensity"]


class ShellDensity(nn.Module):
    r"""Densities of a distance and a direction, exponentials of spherical harmonics.

    .. math:: p(r_k, u) = \frac{1}{Z} \sum_c \exp \sum_l a_{kcl} \cdot Y_l(u)

    The distances r_k are a uniform grid, with a uniform measure; directions are
    integrated by a product grid on every shell.

    Parameters
    ----------
    ls : sequence of int
        Degrees, starting with 0.
    n_shells : int
        Distances.
    nearest, farthest : float
        The first and the last one, Angstrom.
    n_theta : int
        Rings of the grid; each has twice as many points.
    spread : float
        Standard deviation of the distance in the targets, Angstrom.
    sharpness : float
        Factor of the truncated delta functions in the exponents of the targets.
    backend : str
        Kernels of the harmonics.

    References
    ----------
    .. [1] Daigavane et al., "Symphony", ICLR 2024, section 3.3 and appendix D.

    Examples
    --------
    >>> density = ShellDensity([0, 1], 8, backend="torch")
    >>> a = torch.zeros(1, 8, 4, 1)  # uniform
    >>> round(8 * density.step * density.marginal(a).exp().mean().item(), 3)
    1.0
    """

    radii: Tensor
    log_weights: Tensor
    grid_harmonics: Tensor

    def __init__(
        self,
        ls: Sequence[int],
        n_shells: int = 64,
        nearest: float = 0.9,
        farthest: float = 2.0,
        *,
        n_theta: int = 18,
        spread: float = 1e-5**0.5,
        sharpness: float = 20.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.spread, self.sharpness = spread, sharpness
        self.step = (farthest - nearest) / (n_shells - 1)
        sphere = SphereDensity(ls, backend=backend)
        self.harmonics = sphere.harmonics
        self.sampler = SphereSampler(sphere.cells)
        points, weights = sphere_grid(n_theta)
        self.register_buffer(
            "radii", torch.linspace(nearest, farthest, n_shells), False
        )
        self.register_buffer("log_weights", weights.log(), False)
        self.register_buffer("grid_harmonics", self.harmonics(points), False)

    def marginal(self, coefficients: Tensor, temperature: float = 1.0) -> Tensor:
        """Return log p(r_k), per Angstrom, (n, n_shells).

        Parameters
        ----------
        coefficients : (n, n_shells, sum 2l+1, channels)
            One density each.
        temperature
            Of p^(1 / temperature), normalised.
        """
        logits = self._logits(coefficients) / temperature + self.log_weights
        return logits.logsumexp(2).log_softmax(1) - math.log(self.step)

    def log_prob(self, coefficients: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(r), per Angstrom, and log p(u | r), per steradian, (n,) each.

        A distance between the shells has the density of the nearest one; beyond half a
        step outside of them it is impossible.

        Parameters
        ----------
        coefficients : (n, n_shells, sum 2l+1, channels)
        vectors : (n, 3), Angstrom
            Positions from the foci.
        """
        r = torch.linalg.vector_norm(vectors, dim=1)
        place = ((r - self.radii[0]) / self.step).round().long()
        inside = (place >= 0) & (place < len(self.radii))
        place = place.clamp(0, len(self.radii) - 1).unsqueeze(1)
        radial = self.marginal(coefficients).gather(1, place).squeeze(1)
        rows = torch.arange(len(r), device=r.device)
        shell = coefficients[rows, place.squeeze(1)]  # (n, sum 2l+1, channels)
        f = (self.harmonics(vectors).unsqueeze(1) @ shell).logsumexp(2).squeeze(1)
        grid = torch.einsum("gs,nsc->ngc", self.grid_harmonics, shell).logsumexp(2)
        angular = f - (grid + self.log_weights).logsumexp(1)
        return radial.masked_fill(~inside, -torch.inf), angular

    def sample(
        self, coefficients: Tensor, uniform: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """Return positions from the foci, (n, 3) in Angstrom, on the shells.

        The distance is drawn from its marginal, the direction on that shell.

        Parameters
        ----------
        coefficients : (n, n_shells, sum 2l+1, channels)
        uniform : (n, 6)
            Random numbers in [0, 1).
        temperature
            Draw from p^(1 / temperature), normalised.
        """
        place = draw(self.marginal(coefficients, temperature), uniform[:, 0])
        rows = torch.arange(len(place), device=place.device)
        u = self.sampler.sample(coefficients[rows, place], uniform[:, 2:], temperature)
        return self.radii[place].unsqueeze(1) * u

    def divergence(self, coefficients: Tensor, vectors: Tensor, row: Tensor) -> Tensor:
        """Return the Kullback-Leibler divergence from smoothed targets, (n,).

        A target is a Gaussian in the distance times the exponential of a truncated
        delta function of the direction; those of one density are mixed.

        Parameters
        ----------
        coefficients : (n, n_shells, sum 2l+1, channels)
        vectors : (n_targets, 3), Angstrom
            Positions from the foci, at least one for every density.
        row : (n_targets,)
            Which density each belongs to.
        """
        log_p = self._logits(coefficients) + self.log_weights
        log_p = log_p - log_p.logsumexp((1, 2), keepdim=True)
        q = self._targets(vectors, row, len(coefficients))
        return (torch.xlogy(q, q) - q * log_p).sum((1, 2))

    def _targets(self, vectors: Tensor, row: Tensor, n: int) -> Tensor:
        """Masses of the grid points, (n, n_shells, n_points)."""
        r = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        radial = (-0.5 * ((self.radii - r) / self.spread).square()).softmax(1)
        delta = self.harmonics(vectors) @ self.grid_harmonics.T / (4 * math.pi)
        angular = (self.sharpness * delta + self.log_weights).softmax(1)
        masses = radial.unsqueeze(2) * angular.unsqueeze(1)
        total = masses.new_zeros(n, *masses.shape[1:]).index_add(0, row, masses)
        return total / torch.bincount(row, minlength=n)[:, None, None]

    def _logits(self, coefficients: Tensor) -> Tensor:
        """Return f at the points of the grid, (n, n_shells, n_points)."""
        return torch.einsum(
            "gs,nksc->nkgc", self.grid_harmonics, coefficients
        ).logsumexp(3)
