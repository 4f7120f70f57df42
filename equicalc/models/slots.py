"""Vectors that begin as single atoms: the n-th carbon from the centroid, and so on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equicalc.models.swarm import GENTLE
from equicalc.nn.vectors import AugmentedSoftmax, lengths

#: Places of an address: atoms of one element that can be told apart by their number.
PLACES = 24

#: Logit of what belongs together at the start, and its negative for the rest.
SURE = 4.0


def addresses(species: Tensor, number: Tensor, n_elements: int) -> Tensor:
    """Describe atoms by element and number, (n_atoms, n_elements * PLACES).

    Parameters
    ----------
    species : (n_atoms,)
        Index of the element.
    number : (n_atoms,)
        How many atoms of the element come before it; between two whole numbers, an
        atom is at both places.
    n_elements
        Elements.

    Examples
    --------
    >>> addresses(torch.tensor([1]), torch.tensor([2.0]), 2).argmax().item() - PLACES
    2
    """
    places = torch.arange(PLACES, device=number.device)
    bells = torch.exp(-2 * (number.unsqueeze(1) - places).square().clamp(max=20))
    element = nn.functional.one_hot(species, n_elements).to(bells.dtype)
    return (element.unsqueeze(2) * bells.unsqueeze(1)).flatten(1)


class SlotSum(nn.Module):
    """Sum the vectors of the atoms of each molecule; some sums begin as single atoms.

    u_ik = gate_ik (a_k r_i + 0.1 W v_i), g_k = sum_i (softmax_i(beta_k |u_ik| + l_ik) +
    b_k) u_ik. Gates and logits come from scalars and addresses. At the start, the
    first vectors g_k, the slots, pick the atom of one address, if there is one, and
    are near zero if there is none. The others start at random.

    Parameters
    ----------
    channels : int
        Scalars, and vectors, of an atom.
    n_out : int
        Vectors of the molecule.
    slots : tuple of int
        Slots of every element.
    """

    def __init__(self, channels: int, n_out: int, slots: tuple[int, ...]) -> None:
        super().__init__()
        self.choose = nn.Linear(channels + PLACES * len(slots), 2 * n_out)
        self.read = nn.Linear(channels, n_out, bias=False)
        self.direct = nn.Parameter(torch.ones(n_out))
        self.aggregate = AugmentedSoftmax(n_out)
        rows = [(t, place) for t, n in enumerate(slots) for place in range(n)]
        with torch.no_grad():
            for k, (t, place) in enumerate(rows):
                column = channels + PLACES * t + place
                for row in (k, n_out + k):  # of the gate, of the logit
                    self.choose.weight[row] *= 0.1
                    self.choose.weight[row, column] = 2 * SURE
                    self.choose.bias[row] = -SURE
                self.read.weight[k] *= 0.1

    def forward(
        self,
        features: tuple[Tensor, Tensor, Tensor],
        r: Tensor,
        batch: Tensor,
        ptr: Tensor,
    ) -> Tensor:
        """Return (n_graphs, 3, n_out).

        Parameters
        ----------
        features
            Scalars (n_atoms, channels), vectors (n_atoms, 3, channels) and addresses
            of the atoms.
        r : (n_atoms, 3, 1)
            Positions.
        batch, ptr
            Molecule of each atom; first atom of each molecule, and the end.
        """
        s, v, address = features
        gates, logits = self.choose(torch.cat([s, address], 1)).chunk(2, 1)
        u = gates.sigmoid().unsqueeze(1) * (r * self.direct + GENTLE * self.read(v))
        return self.aggregate(u, logits, batch, ptr)


class SlotPoints(nn.Module):
    """What slots say about the points of a swarm; added to what a decoder says.

    At the start, the first points are where the slots point to, of the slot's element,
    and their shares are equal for slots that are not empty.

    Parameters
    ----------
    n_in : int
        Vectors of the embedding.
    n_points : int
        Points.
    slots : tuple of int
        Slots of every element.
    """

    EMPTY = 0.03  # length of a vector that stands for nothing, in its unit

    def __init__(self, n_in: int, n_points: int, slots: tuple[int, ...]) -> None:
        super().__init__()
        self.positions = nn.Linear(n_in, n_points, bias=False)
        self.presence = nn.Linear(n_in, n_points)
        self.types = nn.Parameter(torch.zeros(n_points, len(slots)))
        owners = [t for t, n in enumerate(slots) for _ in range(n)]
        with torch.no_grad():
            self.positions.weight.zero_()
            self.presence.weight.zero_()
            self.presence.bias.fill_(-SURE)
            for k, t in enumerate(owners):
                self.positions.weight[k, k] = 1.0
                self.presence.weight[k, k] = 2 * SURE
                self.types[k, t] = SURE

    def forward(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions (n, n_points, 3) and logits (n, n_points, n_elements + 1).

        Parameters
        ----------
        g : (n, 3, n_in)
            Embeddings.
        """
        square = lengths(g).squeeze(1).square()
        presence = self.presence(square / (square + self.EMPTY**2))
        types = self.types.expand(len(g), *self.types.shape)
        positions = self.positions(g).transpose(1, 2)
        return positions, torch.cat([types, presence.unsqueeze(2)], 2)
