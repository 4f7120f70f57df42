"""The loss of an autoencoder of molecules: two Gaussian mixtures that should agree."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equicalc.models.cloud import Cloud
from equicalc.models.swarm import Swarm

#: Distance of two elements in the space of types, Angstrom, over sqrt(2).
SPACING = 2.0

#: Weights of the terms beside the overlap.
WEIGHTS = {"orphan": 0.3, "stray": 0.3, "outside": 1.0, "light": 0.1}

#: Where the penalty of an overlap turns from quadratic to linear.
BETA = 0.1

#: Least share of a point, in units of the mean.
FLOOR = 0.1


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances of (..., n, d) and (..., m, d): (..., n, m).

    Examples
    --------
    >>> squared_distances(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
    tensor([[25.]])
    """
    xx, yy = x.square().sum(-1).unsqueeze(-1), y.square().sum(-1).unsqueeze(-2)
    return (xx + yy - 2 * x @ y.transpose(-1, -2)).clamp(min=0)


def bell(d2: Tensor, sigma: float | Tensor) -> Tensor:
    """Return exp(-d^2 / sigma^2) of squared distances.

    The exponent ends at -40: what is smaller changes nothing, and denormal numbers
    are slow.
    """
    return (-d2 / sigma**2).clamp(min=-40).exp()


def mixture_terms(
    swarm: Swarm, cloud: Cloud, sigma: float | Tensor
) -> dict[str, Tensor]:
    """Compare points with the atoms they should stand for.

    Distances d are taken in space and in the space of types together, where the
    elements are the corners of a simplex.

    1. overlap: |sum_j w_j exp(-d_ij^2 / sigma^2) - sum_k exp(-d_ik^2 / sigma^2)| of
       the points j and the atoms k with every atom i, a smooth absolute value;
    2. orphan: squared distance of every atom to the nearest point, however far;
    3. stray: squared distance of every point to the nearest atom, by its share;
    4. outside: how far points are beyond the outermost atom;
    5. light: how far shares are below a tenth of their mean.

    Parameters
    ----------
    swarm
        The points.
    cloud
        The atoms.
    sigma : Angstrom
        Width of the Gaussians.

    Returns
    -------
    dict
        Means over molecules of means over atoms or points: the terms above, and
        ``missing``, the mean |overlap| itself, and ``self``, how much the atoms
        overlap one another.

    References
    ----------
    .. [1] Kilgour, Rogal, Tuckerman (2024), eqs. 2 to 6; stray is an addition.
    """
    # atoms (n_graphs, n, 3 + types) and points (n_graphs, m, 3 + types)
    onehot = nn.functional.one_hot(cloud.species, swarm.types.shape[2])
    pos = cloud.padded(cloud.pos)
    types = cloud.padded(onehot.to(pos.dtype))
    atoms = torch.cat([pos, SPACING * types], 2)
    points = torch.cat([swarm.positions, SPACING * swarm.types], 2)
    real = types.sum(2)  # (n_graphs, n), 0 where there is no atom
    share = real / cloud.n_atoms.unsqueeze(1)
    weights = (swarm.shares * cloud.n_atoms.unsqueeze(1)).unsqueeze(1)
    d2 = squared_distances(atoms, points)  # (n_graphs, n, m)
    # 1. overlaps
    found = (weights * bell(d2, sigma)).sum(2)
    wanted = (real.unsqueeze(1) * bell(squared_distances(atoms, atoms), sigma)).sum(2)
    wrong = nn.functional.smooth_l1_loss(found, wanted, beta=BETA, reduction="none")
    # 4. and 5. limits
    reach = pos.square().sum(2).amax(1, keepdim=True).sqrt()
    distance = (swarm.positions.square().sum(2) + 1e-6).sqrt()
    few = FLOOR - swarm.shares * swarm.shares.shape[1]
    # 3. no point is near where there is no atom
    nearest = (d2 + 1e6 * (1 - real).unsqueeze(2)).amin(1)
    return {
        "overlap": (wrong * share).sum(1).mean(),
        "orphan": (d2.amin(2) * share).sum(1).mean(),
        "stray": (nearest * swarm.shares).sum(1).mean(),
        "outside": (distance - reach).clamp(min=0).mean(),
        "light": few.clamp(min=0).mean(),
        "missing": ((found - wanted).abs() * share).sum(1).mean().detach(),
        "self": ((wanted - 1) * share).sum(1).mean().detach(),
    }


def mixture_loss(terms: dict[str, Tensor]) -> Tensor:
    """Add up the terms of `mixture_terms`."""
    others = [weight * terms[name] for name, weight in WEIGHTS.items()]
    return torch.stack([terms["overlap"], *others]).sum()
