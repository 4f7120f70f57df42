"""The lattice-energy network as an ASE calculator: energy, forces and stress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from equicalc.graph import neighbor_list
from equicalc.models.lattice_graph import LatticeGraph

from .fragments import Fragment, find_fragments, require_crystal

if TYPE_CHECKING:
    from ase import Atoms

    from equicalc.models.lattice import LatticeNetwork

__all__ = ["LatticeCalculator"]

#: In sums of covalent radii; longer bonds, which no vibration leads to, are none.
TORN = 1.6


class LatticeCalculator(Calculator):
    """Interaction of the molecules of a crystal, and the energies of these alone.

    No symmetry is used, so that every atom may move. Which atoms are a molecule is seen
    in the first structure, and again when elements change or a bond is torn, as in
    another packing of the same molecules.

    Parameters
    ----------
    network
        For the interaction.
    molecules
        Calculator of single molecules; by default the shipped potential.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, network: LatticeNetwork, molecules: Any = None) -> None:
        super().__init__()
        if molecules is None:
            from equicalc.calculators import EquiCalculator

            molecules = EquiCalculator(device="cpu")
        self.network, self.molecules = network, molecules
        self._members: list[np.ndarray] = []
        self._walk = np.empty((2, 0), dtype=np.int64)  # atom before, atom after
        self._numbers = np.empty(0)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate a crystal; all properties at once.

        Raises
        ------
        CrystalError
            If it is no crystal of molecules.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        crystal: Any = self.atoms
        require_crystal(crystal)
        if not np.array_equal(crystal.numbers, self._numbers) or self._torn(crystal):
            fragments = find_fragments(crystal)
            self._members = [one.indices for one in fragments]
            self._walk = np.concatenate([_walk(one) for one in fragments], axis=1)
            self._numbers = crystal.numbers.copy()
        positions = self._together(crystal)
        between = self._between(crystal, positions)
        within = self._within(crystal, positions)
        energy, forces, virial = (a + b for a, b in zip(between, within))
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces,
            "stress": full_3x3_to_voigt_6_stress(virial / crystal.get_volume()),
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}(molecules={self.molecules!r})"

    def _torn(self, crystal: Atoms) -> bool:
        """Whether a bond of the molecules that are known is none in this structure."""
        from ase.data import covalent_radii

        lengths = np.linalg.norm(self._bonds(crystal), axis=1)
        radii = covalent_radii[crystal.numbers][self._walk].sum(axis=0)
        return bool((lengths > TORN * radii).any())

    def _together(self, crystal: Atoms) -> np.ndarray:
        """Positions with each molecule in one piece, put together bond by bond.

        A molecule may be longer than half the cell, a bond is not.
        """
        positions = crystal.positions.copy()
        for start, end, bond in zip(*self._walk, self._bonds(crystal)):
            positions[end] = positions[start] + bond
        return positions

    def _bonds(self, crystal: Atoms) -> np.ndarray:
        """Vectors from atom to atom of the walk, through the boundaries."""
        from ase.geometry import find_mic

        before, after = self._walk
        if not len(after):
            return np.empty((0, 3))
        apart = crystal.positions[after] - crystal.positions[before]
        return find_mic(apart, crystal.cell, pbc=True)[0]

    def _between(
        self, crystal: Atoms, positions: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Energy, forces and virial of the interaction."""
        strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
        placed = torch.tensor(positions, requires_grad=True)
        stretch = torch.eye(3, dtype=torch.float64) + strain
        owner = np.empty(len(crystal), dtype=np.int64)
        for index, rows in enumerate(self._members):
            owner[rows] = index
        order = np.concatenate(self._members)  # molecule by molecule
        place = np.argsort(order)
        src, dst, shifts = neighbor_list(
            positions, crystal.cell.array, crystal.pbc, self.network.cutoff
        )
        apart = (owner[src] != owner[dst]) | shifts.any(axis=1)
        src, dst, shifts = src[apart], dst[apart], shifts[apart]
        offset = torch.as_tensor(shifts @ crystal.cell.array)
        graph = LatticeGraph(
            z=torch.as_tensor(crystal.numbers[order].astype(np.int64)),
            pos=placed[order] @ stretch,
            molecule=torch.as_tensor(owner[order]),
            weight=torch.ones(len(self._members), dtype=torch.float64),
            crystal=torch.zeros(len(self._members), dtype=torch.int64),
            src=torch.as_tensor(place[src]),
            dst=torch.as_tensor(place[dst]),
            vectors=(placed[src] + offset - placed[dst]) @ stretch,
            image=torch.zeros(len(src), dtype=torch.int64),
            rotations=torch.eye(3, dtype=torch.float64).unsqueeze(0),
            periodic=torch.tensor([True]),
        )
        energy = self.network(graph)["interaction"].sum()
        gradient, virial = torch.autograd.grad(energy, [placed, strain])
        symmetric = 0.5 * (virial + virial.T)
        return float(energy.detach()), -gradient.numpy(), symmetric.numpy()

    def _within(
        self, crystal: Atoms, positions: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Energy, forces and virial of the molecules, each alone."""
        from ase import Atoms

        energy, forces, virial = 0.0, np.zeros((len(crystal), 3)), np.zeros((3, 3))
        for rows in self._members:
            one = Atoms(crystal.numbers[rows], positions=positions[rows])
            one.calc = self.molecules
            energy += float(one.get_potential_energy())
            forces[rows] = one.get_forces()
            pull = (one.positions - one.positions.mean(axis=0)).T @ forces[rows]
            virial -= 0.5 * (pull + pull.T)
        return energy, forces, virial


def _walk(fragment: Fragment) -> np.ndarray:
    """Atoms of a molecule from bond to bond: (2, n_atoms - 1), before and after."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order

    n_atoms, (i, j) = len(fragment.indices), fragment.bonds.T
    bonds = coo_array((np.ones(len(i)), (i, j)), shape=(n_atoms, n_atoms)).tocsr()
    order, before = breadth_first_order(bonds, 0)
    return fragment.indices[np.stack([before[order[1:]], order[1:]])]
