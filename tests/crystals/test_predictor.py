"""The predictor: what must not change its energies, and what its errors say."""

import copy
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell, molecule
from ase.calculators.calculator import Calculator

from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.crystals import (
    ExpSix,
    LatticeEnergyPredictor,
    MolecularCrystal,
    neighbours,
    pair_energy,
)
from equicalc.crystals.errors import UnknownElementError
from equicalc.crystals.graphs import crystal_graph
from equicalc.crystals.predictor import CHUNK
from equicalc.crystals.strain import Strain
from equicalc.models import LatticeConfig, LatticeNetwork, radial_sums
from equicalc.models.lattice_graph import LatticeGraph
from equicalc.nn.damped_coulomb import DAMPING
from equicalc.units import COULOMB, KJ_PER_MOL

TIGHT = 2e-3  # kJ/mol, of single precision


class Free(Calculator):
    """Molecules without energy."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=(), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        forces = np.zeros((len(cast("Atoms", self.atoms)), 3))
        self.results = {"energy": 0.0, "forces": forces}


@pytest.mark.parametrize("group", [1, 2, 4, 14, 19, 61, 76, 146])
def test_symmetry_changes_nothing(predictor, packed, group):
    crystal = packed(group, scale=1.1)
    if group > 15:  # orthorhombic, tetragonal, trigonal
        pose = [8, 8, 11, 90, 90, 120 if group == 146 else 90]
        pose += [0.21, 0.32, 0.13, 0.5, -0.4, 1.0]
        crystal = MolecularCrystal.from_parameters(crystal.molecules[0], group, pose)
    plain = MolecularCrystal.from_atoms(crystal.to_atoms(), symprec=1e-9)
    energies = predictor.predict([crystal, plain])
    assert abs(energies[0]) > 5 * TIGHT
    assert energies[0] == pytest.approx(energies[1], abs=TIGHT)


def test_cell_origin_rotation_and_order_of_atoms_change_nothing(predictor, packed):
    atoms = packed().to_atoms()
    other = make_supercell(atoms, [[1, 0, 1], [0, 1, 0], [0, 1, 1]])
    supercell = make_supercell(atoms, np.diag([1, 2, 1]))
    shifted, turned = atoms.copy(), atoms.copy()
    shifted.positions += [1.3, 0.4, 2.2]
    shifted.wrap()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    shuffled = atoms[np.random.default_rng(0).permutation(len(atoms))]
    energies = predictor.predict([atoms, other, supercell, shifted, turned, shuffled])
    assert np.ptp(energies) < TIGHT


def test_mirror_image_has_the_same_energy(predictor, packed):
    atoms = packed(4).to_atoms()
    mirrored = atoms.copy()
    mirrored.positions *= [1, 1, -1]
    mirrored.cell *= [1, 1, -1]
    energies = predictor.predict([atoms, mirrored])
    assert np.ptp(energies) < TIGHT


def test_two_independent_molecules(predictor, packed):
    crystal = packed(2)
    doubled = make_supercell(crystal.to_atoms(), np.diag([2, 1, 1]))
    doubled.positions[:4] += 1e-3  # now unlike its copy
    loose = MolecularCrystal.from_atoms(doubled, symprec=1e-5)
    assert len(loose.molecules) > 1
    energies = predictor.predict([crystal, loose])
    assert energies[0] == pytest.approx(energies[1], abs=0.1)


def test_batch_is_singles(predictor, packed):
    crystals = [packed(group, 1.2) for group in (1, 14, 19)]
    singles = [predictor.predict([crystal])[0] for crystal in crystals]
    assert predictor.predict(crystals) == pytest.approx(singles, abs=TIGHT)
    assert predictor.predict([]).shape == (0,)


def test_predictions_are_those_of_all_pairs_in_torch(
    predictor, packed, several, monkeypatch
):
    """Compiled or not, in the order of the crystals, whatever else is in the batch."""
    crystals = [packed(14), several, alone(packed(2, 2.0)), packed(19, 1.2)]
    double = LatticeEnergyPredictor(copy.deepcopy(predictor.model).double())
    found = double.predict(crystals)
    monkeypatch.setattr(neighbours, "compiled_pairs", lambda *_: None)
    monkeypatch.setattr(radial_sums, "_library", lambda *_: None)
    expected = [
        double.model(crystal_graph(one, 6.0))["interaction"].item() / KJ_PER_MOL
        for one in crystals
    ]
    assert np.ptp(expected) > 1
    assert found == pytest.approx(expected, abs=1e-6)


def alone(crystal):
    """Give a crystal the same cell with smaller molecules."""
    return replace(crystal, molecules=tuple(one[:2] for one in crystal.molecules))


def test_threads_and_chunks_change_nothing(predictor, packed):
    crystals = [packed(14, 1 + 0.01 * n) for n in range(2 * CHUNK + 1)]
    threads = torch.get_num_threads()
    try:
        found = []
        for n in (1, 2):
            torch.set_num_threads(n)
            found.append(predictor.predict(crystals))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(threads)
    singles = [predictor.predict([crystal])[0] for crystal in crystals]
    assert found[0] == pytest.approx(singles, abs=TIGHT)
    assert found[0] == pytest.approx(found[1], abs=TIGHT)


def test_molecules_far_apart_do_not_interact(predictor, packed):
    assert predictor.predict([packed(1, 4.0)])[0] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("limited", [False, True])
def test_limited_numbers_keep_strange_molecules_from_exploding(packed, limited):
    torch.manual_seed(0)
    config = LatticeConfig(elements=(1, 6, 7, 8), limited=limited)
    network = LatticeNetwork(config)
    cast("Any", network.members[0]).physics.shift.weight.data.mul_(1000)
    energy = network(crystal_graph(packed(14, 1.1), 9.0))["interaction"]
    assert (energy.abs() < 1e3) == limited


def test_charges_have_the_energy_of_the_lattice_sum(packed):
    """Switching them on changes the network as it changes exp-6 and Coulomb."""
    config = LatticeConfig(elements=(1, 6, 7, 8), cutoff=9.0)
    network = LatticeNetwork(config).double()
    physics = cast("Any", network.members[0]).physics
    physics.shift.weight.data.zero_()
    crystal = packed(14, 1.1)
    site_charges = np.array([-0.5, 0.4, 0.2, -0.1])  # of O, C, H, N
    physics.numbers.data[:, 3] = torch.tensor([0.2, 0.4, -0.1, -0.5])
    charged = crystal.molecules[0].copy()
    charged.set_initial_charges(site_charges)
    potential = ExpSix(damping=DAMPING, cutoff=9.0)
    expected = pair_energy(replace(crystal, molecules=(charged,)), potential).energy
    expected -= pair_energy(crystal, potential).energy
    graph = crystal_graph(crystal, 9.0)
    found = network(graph)["interaction"].item()
    physics.numbers.data[:, 3] = 0
    found -= network(graph)["interaction"].item()
    assert abs(expected) > 0.01
    assert found == pytest.approx(expected, rel=1e-4)


def test_aggregates_have_plain_coulomb_energies():
    network = LatticeNetwork(LatticeConfig(elements=(1, 9), cutoff=6.0)).double()
    physics = cast("Any", network.members[0]).physics
    physics.shift.weight.data.zero_()
    one = np.array([[0, 0, 0], [0, 0, 0.92]])
    far = np.array([0, 0, 9.0])
    pos = torch.as_tensor(np.concatenate([one, one + far]))
    src, dst = torch.tensor([[2, 3, 2, 3, 0, 0, 1, 1], [0, 0, 1, 1, 2, 3, 2, 3]])
    graph = LatticeGraph(
        z=torch.tensor([9, 1, 9, 1]),
        pos=pos,
        molecule=torch.tensor([0, 0, 1, 1]),
        weight=torch.ones(2),
        crystal=torch.zeros(2, dtype=torch.int64),
        src=src,
        dst=dst,
        vectors=pos[src] - pos[dst],
        image=torch.zeros(8, dtype=torch.int64),
        rotations=torch.eye(3).unsqueeze(0),
        periodic=torch.tensor([False]),
    )
    charge = 0.5 * (physics.numbers[0, 3] - physics.numbers[1, 3]).item()
    expected = COULOMB * charge**2 * (2 / 9.0 - 1 / 9.92 - 1 / 8.08)
    assert network(graph)["interaction"].item() == pytest.approx(expected, rel=1e-6)


def test_pairs_fade_at_the_cutoff(predictor):
    axis = [[0, 0, 0], [1.1, 0, 0]]

    def energy(length):
        cell = np.diag([30, 30, length])
        crystal = Atoms("CO", axis, cell=cell, pbc=True)
        return predictor.predict([crystal])[0]

    lengths = np.array([6 - 1e-4, 6 + 1e-4])
    assert energy(lengths[0]) == pytest.approx(energy(lengths[1]), abs=1e-4)


@pytest.mark.parametrize("group", [1, 14])
def test_calculator_agrees_and_differentiates(predictor, packed, group):
    crystal = packed(group, 1.1)
    network = LatticeNetwork(predictor.model.config)
    network.load_state_dict(predictor.model.state_dict())
    exact = LatticeEnergyPredictor(network.double())
    atoms = crystal.to_atoms()
    atoms.calc = exact.as_calculator(Free())
    total = exact.predict([crystal])[0] * crystal.n_molecules
    assert atoms.get_potential_energy() * 96.485 == pytest.approx(total, rel=1e-4)

    rng = np.random.default_rng(1)
    step, size = rng.normal(size=atoms.positions.shape), 1e-4
    slope = -(atoms.get_forces() * step).sum()
    assert difference(atoms, lambda s: moved(atoms, s * size * step)) / (
        2 * size
    ) == pytest.approx(slope, rel=1e-4, abs=1e-7)
    strain = rng.normal(size=(3, 3))
    strain = strain + strain.T
    work = (atoms.get_stress(voigt=False) * strain).sum() * atoms.get_volume()
    assert difference(atoms, lambda s: strained(atoms, s * size * strain)) / (
        2 * size
    ) == pytest.approx(work, rel=1e-4, abs=1e-7)


def difference(atoms, change):
    """Energies one step forward and one back."""
    energies = []
    for sign in (1, -1):
        other = change(sign)
        other.calc = atoms.calc
        energies.append(other.get_potential_energy())
    return energies[0] - energies[1]


def moved(atoms, step):
    other = atoms.copy()
    other.positions += step
    return other


def strained(atoms, strain):
    other = atoms.copy()
    other.set_cell(other.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return other


def test_molecules_longer_than_half_the_cell_stay_whole(predictor):
    """In a cell so narrow the nearest image of an atom is another molecule's."""
    chain = molecule("trans-butane")
    chain.positions -= chain.positions.mean(axis=0)
    axis = np.linalg.svd(chain.positions)[2]
    chain.positions = chain.positions @ axis.T  # long axis along x
    length = np.ptp(chain.positions[:, 0])
    chain.set_cell([length + 1.2, 5.5, 6.0])
    chain.pbc = True
    calculator = predictor.as_calculator(Free())
    for shift in (0.0, 2.5):
        moved = chain.copy()
        moved.positions[:, 0] += shift
        moved.wrap()
        moved.calc = calculator
        moved.get_potential_energy()
        whole = calculator._together(moved)
        assert np.ptp(whole[:, 0]) == pytest.approx(length)


def test_another_packing_of_the_same_atoms_has_molecules_of_its_own(predictor):
    near = molecule("H2O")
    pair = near.copy()
    pair.positions += (5.0, 0, 0)
    both = near + pair
    both.set_cell([12.0, 8, 8])
    both.pbc = True
    other = both.copy()
    other.positions[[1, 4]] = both.positions[[4, 1]]  # the same, its atoms exchanged
    calculator = predictor.as_calculator(Free())
    energies = []
    for atoms in (both, other):
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
    assert energies[1] == pytest.approx(energies[0], abs=1e-6)


def test_score_ranks_and_goes_on_after_bad_crystals(predictor, packed):
    bad = {
        "salt": bulk("NaCl", "rocksalt", a=9.0),
        "not-periodic": molecule("H2O"),
        "element": Atoms("Cl2", [[0, 0, 0], [2, 0, 0]], cell=[5, 5, 5], pbc=True),
        "empty": Atoms(),
    }
    good = [packed(14), packed(14, 1.1), packed(1, 1.2)]
    names = [*bad, "a", "b", "c"]
    rows = predictor.score([*bad.values(), *good], names)
    assert [row["file"] for row in rows] == names
    assert [row["status"] for row in rows] == [*bad, "ok", "ok", "ok"]
    assert all("energy_kJ/mol" not in row and row["message"] for row in rows[:4])
    ranked = sorted(rows[4:], key=lambda row: cast("int", row["rank"]))
    energies = [cast("float", row["energy_kJ/mol"]) for row in ranked]
    assert energies == sorted(energies)
    assert [row["dE_kJ/mol"] for row in ranked] == [e - energies[0] for e in energies]
    assert rows[4]["std_kJ/mol"] == pytest.approx(predictor.uncertainty(good)[0])
    assert rows[4]["strain_kJ/mol"] == ""


def test_strain_is_that_of_the_molecule_and_is_relaxed_once(predictor):
    from ase.calculators.emt import EMT

    class Counted(EMT):
        calls = 0

        def calculate(self, *args: Any, **kwargs: Any) -> None:
            type(self).calls += 1
            super().calculate(*args, **kwargs)

    long = molecule("H2O")
    long.positions[1] *= 1.05
    pose = [4, 4, 4, 90, 90, 90, 0, 0, 0, 0, 0, 0]
    crystal = MolecularCrystal.from_parameters(long, 1, pose)
    strain = Strain(Counted())
    (row,) = predictor.score([crystal], strain=strain)
    assert cast("float", row["strain_kJ/mol"]) > 0
    done = Counted.calls
    predictor.score([crystal, crystal], strain=strain)
    assert Counted.calls == done


def test_score_goes_on_after_molecules_without_energy(predictor, packed):
    class Broken(Free):
        def calculate(self, atoms=None, properties=(), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            self.results["energy"] = np.nan

    [row] = predictor.score([packed(14)], strain=Strain(Broken()))
    assert row["status"] == "failed"
    assert "is nan" in cast("str", row["message"])


def test_unknown_elements_are_refused(predictor):
    chlorine = Atoms("Cl2", [[0, 0, 0], [2, 0, 0]], cell=[5, 5, 5], pbc=True)
    with pytest.raises(UnknownElementError, match=r"not know Cl.* knows H, C, N, O"):
        predictor.predict([chlorine])
    with pytest.raises(ValueError, match="17"):
        predictor.model.species(torch.tensor([17]))


def test_planar_molecules_have_proper_images():
    pose = [5, 5, 6, 90, 100, 90, 0.2, 0.1, 0.3, 0.3, 0.2, 0.1]
    crystal = MolecularCrystal.from_parameters(molecule("H2O"), 14, pose)
    graph = crystal_graph(crystal, 5.0)
    original = graph.pos - graph.pos.mean(0)
    for image, turn in zip(crystal.unit_cell[0], graph.rotations):
        assert np.allclose(original @ turn, image - image.mean(axis=0), atol=1e-8)


def test_checkpoint_keeps_the_energies(predictor, packed, tmp_path):
    path = save_checkpoint(tmp_path / "p.safetensors", predictor.model, {"n": 1})
    again = LatticeEnergyPredictor.from_pretrained(path)
    assert again.card["n"] == 1
    assert again.predict([packed()]) == pytest.approx(predictor.predict([packed()]))
    from equicalc.calculators.members import Placement, load_member

    with pytest.raises(ValueError, match="no energies of structures"):
        load_member(path, Placement())
    assert isinstance(load_checkpoint(path)[0], LatticeNetwork)


def test_reach_beyond_the_cutoff_is_refused():
    with pytest.raises(ValueError, match="larger than the cutoff"):
        LatticeConfig(elements=(1,), cutoff=4.0, reach=5.0)


def test_one_crystal_is_no_list(predictor, packed):
    with pytest.raises(TypeError, match="a list of crystals is needed, not"):
        predictor.predict(packed(14, 1.0))
