"""Probability densities of directions: exponentials of spherical harmonics."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.library import custom_op

from equicalc.kernels import SphericalHarmonics
from equicalc.nn.sphere_cells import SHARE, SphereCells, mass_per_row
from equicalc.nn.sphere_loops import compiled_sphere


class SphereDensity(nn.Module):
    r"""Densities :math:`p(u) = \frac{1}{Z} \sum_c \exp \sum_l a_{cl} \cdot Y_l(u)`.

    Z is integrated over cells that are the smaller the sharper the density is, so that
    peaks and ridges of a fraction of a degree count, wherever they are. Its logarithm
    is right to about 0.0005, and to 0.005 at worst for peaks of 0.2 degrees.

    Parameters
    ----------
    ls : sequence of int
        Degrees, starting with 0.
    n_rings : int
        Rings of the cells to begin with, see `SphereCells`.
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

    def __init__(
        self, ls: Sequence[int], n_rings: int = 24, backend: str = "auto"
    ) -> None:
        super().__init__()
        self.shape = (tuple(ls), n_rings, backend)
        self.cells = shared_cells(*self.shape)
        self.harmonics = _harmonics(ls, backend)

    def log_prob(self, coefficients: Tensor, directions: Tensor) -> Tensor:
        """Return log densities per steradian, (n,).

        They can be differentiated once.

        Parameters
        ----------
        coefficients : (n, sum 2l+1, channels)
            One density each.
        directions : (n, 3)
            Unit vectors.
        """
        logits = self.logits(coefficients, directions.unsqueeze(1)).squeeze(1)
        return logits - self.log_normalizer(coefficients)

    def logits(self, coefficients: Tensor, directions: Tensor) -> Tensor:
        """Return unnormalised log densities (n, k) at k directions (n, k, 3) each."""
        return (self.harmonics(directions) @ coefficients).logsumexp(2)

    def log_normalizer(self, coefficients: Tensor) -> Tensor:
        """Return log Z of densities (n, sum 2l+1, channels), (n,)."""
        ls, n_rings, backend = self.shape
        learning = torch.is_grad_enabled() and coefficients.requires_grad
        return _log_integral(coefficients, list(ls), n_rings, backend, learning)[0]


@functools.cache
def shared_cells(ls: tuple[int, ...], n_rings: int, backend: str) -> SphereCells:
    """Return the cells of given degrees, see `SphereDensity`; one for all callers."""
    return SphereCells(_harmonics(ls, backend), n_rings)


def _harmonics(ls: Sequence[int], backend: str) -> SphericalHarmonics:
    return SphericalHarmonics(
        list(ls), normalize=True, normalization="component", backend=backend
    )


# An operator, since how many cells are cut depends on the values, which torch.compile
# could not trace.
@custom_op("equicalc::sphere_log_integral", mutates_args=())
def _log_integral(
    coefficients: Tensor, ls: Sequence[int], n_rings: int, backend: str, learning: bool
) -> tuple[Tensor, Tensor]:
    """Return the log of the integral and its gradient, the mean of the harmonics."""
    cells = shared_cells(tuple(ls), n_rings, backend)
    if loops := compiled_sphere(cells, coefficients):
        return loops.integrate(coefficients, SHARE, learning)
    levels = cells.cut(coefficients)
    n = len(coefficients)
    masses = [level.uncut_log_masses() for level in levels]
    sums = [mass_per_row(m, level.row, n) for m, level in zip(masses, levels)]
    log_z = torch.stack(sums).logsumexp(0)
    gradient = torch.zeros_like(coefficients)
    if learning:
        for m, level in zip(masses, levels):
            p = (m - log_z[level.row, None, None]).exp()
            gradient.index_add_(0, level.row, level.harmonics.mT @ p)
    return log_z, gradient


@_log_integral.register_fake
def _(
    coefficients: Tensor, ls: Sequence[int], n_rings: int, backend: str, learning: bool
) -> tuple[Tensor, Tensor]:
    del ls, n_rings, backend, learning
    n = coefficients.shape[0]  # not len(), which would be one number for ever
    return coefficients.new_empty(n), torch.empty_like(coefficients)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    del inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])


def _differentiate(
    ctx: Any, grad: Tensor, twice: Tensor | None
) -> tuple[Tensor, None, None, None, None]:
    if twice is not None:
        raise RuntimeError("densities of directions can be differentiated only once")
    return grad[:, None, None] * ctx.saved_tensors[0], None, None, None, None


_log_integral.register_autograd(_differentiate, setup_context=_save)


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
    z, phi = (x.ravel() for x in np.meshgrid(cosine, phi, indexing="ij"))
    radius = np.sqrt(1 - z * z)
    points = np.stack([radius * np.cos(phi), radius * np.sin(phi), z], -1)
    weights = np.repeat(weights * math.pi / n_theta, 2 * n_theta)
    dtype = torch.get_default_dtype()
    return torch.as_tensor(points, dtype=dtype), torch.as_tensor(weights, dtype=dtype)
