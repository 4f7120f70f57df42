"""Probability densities of directions: exponentials of spherical harmonics."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from equicalc.kernels import SphericalHarmonics

#: Reach of the local patch around a direction, radian.
PATCH = math.pi / 6


class SphereDensity(nn.Module):
    r"""Densities :math:`p(u) = \frac{1}{Z} \sum_c \exp \sum_l a_{cl} \cdot Y_l(u)`.

    Z comes from a product grid of the whole sphere and a fine patch around u, joined
    by a smooth partition of unity, so that it is right also for a density much sharper
    than the grid, as long as it is sharp around the direction that is asked for.

    Parameters
    ----------
    ls : sequence of int
        Degrees, starting with 0.
    n_theta : int
        Rings of the grid; each has twice as many points.
    n_patch : int
        Rings of the patch, each of twice as many points.
    backend : str
        Kernels of the harmonics.

    References
    ----------
    .. [1] Daigavane et al., "Symphony", ICLR 2024, section 3.4.

    Examples
    --------
    >>> density = SphereDensity([0, 1], backend="torch")
    >>> a = torch.tensor([[[0.0], [0.0], [0.0], [0.0]]])  # uniform
    >>> value = density.log_prob(a, torch.tensor([[0.0, 0.0, 1.0]])).exp()
    >>> (4 * math.pi * value).round(decimals=2)
    tensor([1.])
    """

    points: Tensor
    log_weights: Tensor
    grid_harmonics: Tensor
    patch: Tensor
    patch_log_weights: Tensor

    def __init__(
        self,
        ls: Sequence[int],
        n_theta: int = 24,
        n_patch: int = 12,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.harmonics = SphericalHarmonics(
            list(ls), normalize=True, normalization="component", backend=backend
        )
        points, weights = sphere_grid(n_theta)
        self.register_buffer("points", points, False)
        self.register_buffer("log_weights", weights.log(), False)
        self.register_buffer("grid_harmonics", self.harmonics(points), False)
        patch, weights = patch_grid(n_patch)
        self.register_buffer("patch", patch, False)
        self.register_buffer("patch_log_weights", weights.log(), False)

    def log_prob(self, coefficients: Tensor, directions: Tensor) -> Tensor:
        """Return log densities per steradian, (n,).

        Parameters
        ----------
        coefficients : (n, sum 2l+1, channels)
            One density each.
        directions : (n, 3)
            Unit vectors.
        """
        return self.logits(coefficients, directions.unsqueeze(1)).squeeze(
            1
        ) - self.log_normalizer(coefficients, directions)

    def logits(self, coefficients: Tensor, directions: Tensor) -> Tensor:
        """Return unnormalised log densities (n, k) at k directions (n, k, 3) each."""
        return (self.harmonics(directions) @ coefficients).logsumexp(2)

    def log_normalizer(self, coefficients: Tensor, directions: Tensor) -> Tensor:
        """Return log Z, (n,), with the patch around a direction (n, 3) each."""
        # 1. the whole sphere, faded out around the direction
        far = _fade(directions @ self.points.T)  # (n, n_points)
        grid = torch.einsum("psc,gs->pcg", coefficients, self.grid_harmonics)
        grid = grid + (self.log_weights + far.log()).unsqueeze(1)
        # 2. the patch
        points = torch.einsum("gk,nkx->ngx", self.patch, frames(directions))
        near = self.harmonics(points) @ coefficients  # (n, n_patch, channels)
        near = near + self.patch_log_weights.unsqueeze(1)
        return torch.cat([grid.flatten(1), near.flatten(1)], 1).logsumexp(1)


def _fade(cosine: Tensor) -> Tensor:
    """Weight of the grid at an angle to the direction: 0 there, 1 beyond the patch."""
    angle = cosine.clamp(-1, 1).arccos() / PATCH
    return torch.sin(0.5 * math.pi * angle.clamp(max=1)) ** 6


def sphere_grid(n_theta: int) -> tuple[Tensor, Tensor]:
    """Return points and weights that integrate degrees below 2 n_theta exactly.

    Gauss-Legendre in cos theta, uniform in phi.

    Returns
    -------
    points, weights
        (2 n_theta^2, 3), and (2 n_theta^2,) in steradian.

    Examples
    --------
    >>> sphere_grid(4)[1].sum() / math.pi
    tensor(4.0000)
    """
    cosine, weights = np.polynomial.legendre.leggauss(n_theta)
    phi = math.pi / n_theta * (np.arange(2 * n_theta) + 0.5)
    points = _on_sphere(np.arccos(cosine), phi)
    weights = np.repeat(weights * math.pi / n_theta, 2 * n_theta)
    return _tensor(points), _tensor(weights)


def patch_grid(n_rings: int) -> tuple[Tensor, Tensor]:
    """Return points around the z axis and their weights, faded out at the rim.

    The rings are closer together near the centre: angle = PATCH s^1.5.

    Returns
    -------
    points, weights
        (2 n_rings^2, 3), and (2 n_rings^2,) in steradian.
    """
    s, weights = np.polynomial.legendre.leggauss(n_rings)
    s, weights = 0.5 * (s + 1), 0.5 * weights
    angle = PATCH * s**1.5
    fade = 1 - _fade(_tensor(np.cos(angle))).double().numpy()
    weights = weights * 1.5 * PATCH * np.sqrt(s) * np.sin(angle) * fade
    phi = math.pi / n_rings * np.arange(2 * n_rings)
    points = _on_sphere(angle, phi)
    weights = np.repeat(weights * math.pi / n_rings, 2 * n_rings)
    return _tensor(points), _tensor(weights)


def frames(directions: Tensor) -> Tensor:
    """Return right-handed frames, (n, 3, 3) with axes as rows, the third one given.

    Examples
    --------
    >>> frames(torch.tensor([[0.0, 0.0, 1.0]])).abs().tolist()
    [[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]
    """
    x, y, z = directions.unbind(-1)
    sign = torch.where(z < 0, -1.0, 1.0).to(z)
    a = -1 / (sign + z)
    b = x * y * a
    first = torch.stack([1 + sign * x * x * a, sign * b, -sign * x], -1)
    second = torch.stack([b, sign + y * y * a, -y], -1)
    return torch.stack([first, second, directions], -2)


def _on_sphere(theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Return the unit vectors at all pairs of angles, (n_theta * n_phi, 3)."""
    t, p = (a.ravel() for a in np.meshgrid(theta, phi, indexing="ij"))
    return np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], -1)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.get_default_dtype())
