"""Whether a swarm of points holds the molecule: atoms found, and how far off."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equicalc.models.cloud import Cloud
from equicalc.models.swarm import Swarm

if TYPE_CHECKING:
    from ase import Atoms

    from equicalc.models.mo3enet import Mo3ENet

#: Points within this distance of an atom are its own, Angstrom.
REACH = 0.5

#: Largest deviation of the mass found from 1; in the paper's text, the least mass.
TOLERANCE = 0.25

#: Noise that lifts a symmetry, and how alike equivalent atoms are, Angstrom.
NOISE, ALIKE = 0.005, 0.02


@dataclass(frozen=True)
class Matches:
    """What a swarm has of the atoms of known molecules.

    Attributes
    ----------
    mass : (n_atoms,)
        Weights of the points within `REACH`; 1 is right.
    deviation : (n_atoms,), Angstrom
        Distance to their centre; NaN without points.
    typed : (n_atoms,) bool
        Whether they stand for the atom's element.
    batch : (n_atoms,)
        Molecule of each atom.
    """

    mass: Tensor
    deviation: Tensor
    typed: Tensor
    batch: Tensor

    @property
    def matched(self) -> Tensor:
        """Atoms of mass 1 within `TOLERANCE` and of the right element, (n_atoms,)."""
        return ((self.mass - 1).abs() < TOLERANCE) & self.typed

    @property
    def touched(self) -> Tensor:
        """Atoms of mass above `TOLERANCE`, whatever the element, (n_atoms,)."""
        return self.mass > TOLERANCE

    def whole(self, found: Tensor) -> Tensor:
        """Molecules of which every atom is found (n_atoms,): (n_graphs,) bool.

        Examples
        --------
        >>> matches = Matches(*torch.ones(3, 3), batch=torch.tensor([0, 0, 1]))
        >>> matches.whole(torch.tensor([True, False, True]))
        tensor([False,  True])
        """
        n_graphs = int(self.batch[-1]) + 1 if len(self.batch) else 0
        missed = torch.zeros(n_graphs, device=found.device)
        return missed.index_add(0, self.batch, (~found).float()) == 0


def match_points(swarm: Swarm, cloud: Cloud) -> Matches:
    """Merge the points around every atom of known molecules.

    Points are weighted by their share of the atoms, and their centre is divided by
    the mass found.

    Parameters
    ----------
    swarm
        The points.
    cloud
        The atoms.

    References
    ----------
    .. [1] Kilgour, Rogal, Tuckerman, "Multi-type point cloud autoencoder" (2024),
       appendix: scaffolded distances.
    """
    away = swarm.positions[cloud.batch] - cloud.pos.unsqueeze(1)
    near = away.square().sum(2) < REACH**2  # (n_atoms, n_points)
    masses = swarm.shares * cloud.n_atoms.unsqueeze(1)
    weight = near * masses[cloud.batch]
    mass = weight.sum(1)
    centre = (weight.unsqueeze(2) * away).sum(1) / mass.unsqueeze(1)
    types = (weight.unsqueeze(2) * swarm.types[cloud.batch]).sum(1)
    return Matches(
        mass,
        torch.linalg.vector_norm(centre, dim=1),
        types.argmax(1) == cloud.species,
        cloud.batch,
    )


def cluster_points(
    swarm: Swarm, n_atoms: int, elements: Sequence[int], index: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read a molecule from a swarm without knowing where its atoms are.

    1. Points nearer than `REACH`, on average, are joined.
    2. While there are too many groups, the lightest joins the nearest.

    Parameters
    ----------
    swarm
        The points.
    n_atoms
        Atoms of the molecule.
    elements
        Atomic numbers of the types.
    index
        Molecule of the swarm.

    Returns
    -------
    z : (n,)
        Atomic numbers; n is `n_atoms`, or fewer if points coincide.
    pos : (n, 3), Angstrom
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    pos, types, shares = (
        values[index].detach().double().cpu().numpy()
        for values in (swarm.positions, swarm.types, swarm.shares)
    )
    mass = n_atoms * shares
    # 1. groups
    label = np.ones(1, int)
    if len(pos) > 1:
        label = fcluster(linkage(pos, "average"), REACH, "distance")
    member = (label == np.unique(label)[:, None]).astype(float)  # (n_groups, n_points)
    # 2. no more groups than atoms
    while len(member) > n_atoms:
        total = member @ mass
        centre = (member * mass) @ pos / total[:, None]
        lightest = int(total.argmin())
        distance = np.linalg.norm(centre - centre[lightest], axis=1)
        distance[lightest] = np.inf
        member[distance.argmin()] += member[lightest]
        member = np.delete(member, lightest, axis=0)
    total = member @ mass
    z = np.asarray(elements)[((member * mass) @ types).argmax(1)]
    return z, (member * mass) @ pos / total[:, None]


def lift_symmetry(cloud: Cloud, seed: int = 0) -> Cloud:
    """Add a little noise to molecules that have equivalent atoms, and to no others.

    Vectors of equivalent atoms cancel when they are summed over the molecule.

    Parameters
    ----------
    cloud
        The molecules.
    seed
        Of the noise: the same for a molecule whatever else is in the batch.
    """
    pos = cloud.pos.clone()
    for first, end in zip(cloud.ptr[:-1].tolist(), cloud.ptr[1:].tolist()):
        atoms = slice(first, end)
        if _has_equivalent_atoms(cloud.species[atoms], cloud.pos[atoms]):
            noise = np.random.default_rng(seed).standard_normal((end - first, 3))
            pos[atoms] += NOISE * torch.from_numpy(noise).to(pos)
    return dataclasses.replace(cloud, pos=pos)


def _has_equivalent_atoms(species: Tensor, pos: Tensor) -> bool:
    """Whether two atoms of an element have the same distances to all elements."""
    distance = torch.cdist(pos, pos) + 100.0 * species  # apart by element
    profile = distance.sort(dim=1).values  # (n, n)
    alike = torch.cdist(profile, profile, p=torch.inf) < ALIKE
    same = species.unsqueeze(0) == species.unsqueeze(1)
    return bool((alike & same).sum() > len(species))


@dataclass(frozen=True)
class Reconstruction:
    """How well a molecule comes back from its embedding.

    Attributes
    ----------
    deviation : Angstrom
        Mean distance of its atoms from where they come back, of those that do.
    matched
        Fraction of atoms that come back with mass 1 and the right element.
    touched
        Fraction of atoms that come back with a mass above `TOLERANCE`.
    z, pos : (n,), (n, 3) Angstrom
        The molecule as read from the points alone, in its place.
    """

    deviation: float
    matched: float
    touched: float
    z: NDArray[np.int64]
    pos: NDArray[np.float64]


@torch.no_grad()
def reconstruct(model: Mo3ENet, molecules: Sequence[Atoms]) -> list[Reconstruction]:
    """Encode and decode molecules of your own, to see whether an embedding holds them.

    Parameters
    ----------
    model
        A trained autoencoder.
    molecules
        One molecule each; if the model leaves hydrogens out, so does the answer.

    Raises
    ------
    ValueError
        If an element is unknown to the model.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from equicalc.models import build_model
    >>> model = build_model("mo3enet", {"bottleneck": 8})
    >>> [answer] = reconstruct(model, [molecule("CH3OH")])
    >>> 0 <= answer.matched <= answer.touched <= 1
    True
    """
    from equicalc.data.atoms import atoms_to_graph

    results, device = [], next(model.parameters()).device
    for atoms in molecules:
        cloud = model.cloud(atoms_to_graph(atoms, model.cutoff).to(device))
        swarm = model.decode(model.encode(lift_symmetry(cloud)))
        matches = match_points(swarm, cloud)
        n_atoms = len(cloud.species)
        z, pos = cluster_points(swarm, n_atoms, model.elements)
        heavy = 1 not in model.elements
        seen = atoms.positions[atoms.numbers > 1] if heavy else atoms.positions
        results.append(
            Reconstruction(
                deviation=float(matches.deviation[matches.touched].mean()),
                matched=float(matches.matched.double().mean()),
                touched=float(matches.touched.double().mean()),
                z=z,
                pos=pos + seen.mean(axis=0),
            )
        )
    return results
