"""Crystals survive every change of setting; what is wrong has a name."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, molecule
from ase.geometry import cell_to_cellpar, cellpar_to_cell
from ase.io import write
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from equicalc.crystals import MolecularCrystal, errors, neighbours
from equicalc.crystals.fragments import polar_hydrogens
from equicalc.crystals.neighbours import pairs_around
from equicalc.crystals.shape import standard_orientation, vdw_radii, vdw_volume
from equicalc.crystals.symmetry import lattice_basis, operations
from equicalc.data.smiles import atoms_from_smiles

METHANOL = molecule("CH3OH")
WATER = molecule("H2O")


def roomy(group, seed):
    """Parameters of a crystal of small molecules far apart, in any group."""
    rng = np.random.default_rng(seed)
    basis = lattice_basis(group)
    cell = np.einsum("p,pij->ij", rng.uniform(40, 55, len(basis)), basis)
    if group < 16:  # the off-diagonal lengths are free there
        cell[np.tril_indices(3, -1)] *= rng.uniform(-0.3, 0.3, 3)
    return np.concatenate(
        [cell_to_cellpar(cell), rng.uniform(0.03, 0.2, 3), rng.normal(size=3)]
    )


def same_places(a, b, tolerance=1e-6):
    """Whether two structures in the same cell have the same atoms."""
    if len(a) != len(b) or not np.allclose(a.cell, b.cell, atol=tolerance):
        return False
    for z in np.unique(a.numbers):
        apart = (
            a.get_scaled_positions()[a.numbers == z][:, None]
            - b.get_scaled_positions()[b.numbers == z]
        )
        apart = np.linalg.norm((apart - np.round(apart)) @ a.cell.array, axis=-1)
        if max(apart.min(axis=0).max(), apart.min(axis=1).max()) > tolerance:
            return False
    return True


@pytest.mark.parametrize("group", range(1, 231))
def test_round_trip_in_every_space_group(group):
    # molecules may overlap in groups of 192 operations
    tried = (
        MolecularCrystal.from_parameters(WATER, group, roomy(group, seed))
        for seed in range(60)
    )
    crystal = next(
        one for one in tried if one.z == len(operations(group)) and one.contact > 1.0
    )
    atoms = crystal.to_atoms()
    assert crystal.z == len(operations(group)) == len(atoms) // len(WATER)
    atoms.wrap()
    read = MolecularCrystal.from_atoms(atoms)
    assert (read.spacegroup, read.z, read.z_prime) == (group, crystal.z, 1.0)
    assert same_places(read.to_atoms(), atoms)
    again = MolecularCrystal.from_parameters(
        read.molecules[0], group, read.parameters()
    )
    assert again.contact == pytest.approx(crystal.contact, abs=1e-6)
    assert again.density == pytest.approx(crystal.density)
    assert same_places(again.to_atoms(), read.standardised().to_atoms())


def test_cell_constraints_make_operations_orthogonal():
    rng = np.random.default_rng(0)
    for group in range(1, 231):
        basis = lattice_basis(group)
        cell = np.einsum("p,pij->ij", rng.uniform(4, 9, len(basis)), basis)
        turns = cell.T @ operations(group).rotations @ np.linalg.inv(cell.T)
        assert np.allclose(turns @ turns.transpose(0, 2, 1), np.eye(3))


def test_supercell_is_the_same_crystal():
    crystal = MolecularCrystal.from_parameters(METHANOL, 14, roomy(14, 3))
    matrix = [[1, 1, 0], [0, 1, 0], [0, 0, 2]]
    large = MolecularCrystal.from_atoms(make_supercell(crystal.to_atoms(), matrix))
    assert (large.spacegroup, large.z, large.z_prime) == (14, 4, 1.0)
    assert large.n_molecules == 8
    assert large.density == pytest.approx(crystal.density)
    assert large.contact == pytest.approx(crystal.contact)
    assert large.standardised().n_molecules == 4


def test_contacts_are_found_at_any_distance():
    """Beyond the shorter reach too, and none beyond the longer one."""
    for edge, expected in ((3.9, 3.9), (4.5, 4.5), (5.9, 5.9), (6.1, np.inf)):
        pose = [edge, 9, 9, 90, 90, 90, 0, 0, 0, 0, 0, 0]
        crystal = MolecularCrystal.from_parameters(Atoms("Ar"), 1, pose)
        assert crystal.contact == pytest.approx(
            expected / (2 * vdw_radii(np.array([18]))[0])
        )


def test_molecule_on_a_special_position_counts_once():
    pose = [6.0, 6, 6, 90, 90, 90, 0, 0, 0, 0.3, 0.2, 0.5]
    crystal = MolecularCrystal.from_parameters(molecule("CO2"), 2, pose)
    assert (crystal.n_molecules, crystal.z_prime) == (1, 0.5)
    read = MolecularCrystal.from_atoms(crystal.to_atoms())
    assert (read.n_molecules, read.z) == (1, 1 if read.spacegroup == 2 else read.z)


def test_independent_molecules_are_kept():
    cell = cellpar_to_cell([8, 9, 10, 80, 95, 100])
    one, two = METHANOL.copy(), METHANOL.copy()
    two.rotate(50, (1, 2, 3))
    two.positions += [4, 4, 5]
    atoms = Atoms(
        [*one.numbers, *two.numbers],
        positions=[*one.positions, *two.positions],
        cell=cell,
        pbc=True,
    )
    crystal = MolecularCrystal.from_atoms(atoms)
    assert (crystal.spacegroup, crystal.z_prime, len(crystal.molecules)) == (1, 2.0, 2)
    with pytest.raises(ValueError, match="2 molecules are independent"):
        crystal.parameters()


@pytest.mark.parametrize("name", ["C6H6", "CH4", "NH3", "CH3OH", "CO2", "H2O", "C60"])
def test_standard_orientation_does_not_depend_on_the_pose(name):
    mol = molecule(name)
    mol.positions += np.random.default_rng(1).normal(scale=1e-7, size=(len(mol), 3))
    first = standard_orientation(mol).positions
    for turn in Rotation.random(5, np.random.default_rng(0)):
        moved = mol.copy()
        moved.positions = turn.apply(mol.positions) + np.array([3, -2, 7])
        assert np.abs(standard_orientation(moved).positions - first).max() < 1e-5


def test_volume_is_that_of_the_union_of_spheres():
    benzene = molecule("C6H6")
    rng = np.random.default_rng(0)
    low, high = benzene.positions.min(axis=0) - 2, benzene.positions.max(axis=0) + 2
    points = rng.uniform(low, high, (100_000, 3))
    radii = np.where(benzene.numbers == 6, 1.7, 1.2)
    inside = (cdist(points, benzene.positions) < radii).any(axis=1).mean()
    assert vdw_volume(benzene) == pytest.approx(inside * np.prod(high - low), rel=0.015)


def test_neighbours_are_found_by_brute_force():
    crystal = MolecularCrystal.from_parameters(
        METHANOL, 14, [5, 6, 7, 90, 97, 90, 0.2, 0.3, 0.15, 1, 2, 0.3]
    )
    positions = crystal.unit_cell[0]
    expected = []
    for shift in np.ndindex(9, 9, 9):
        moved = positions + (np.array(shift) - 4) @ crystal.cell
        expected += [cdist(positions[0], image).min() for image in moved]
    expected = sorted(d for d in expected if 0 < d < 7 and d > 1e-9)
    found = sorted(one.distance for one in crystal.neighbours(7.0))
    np.testing.assert_allclose(found, expected)
    cluster = crystal.cluster(7.0)
    assert len(cluster) == 6 * (1 + len(expected))
    assert not cluster.pbc.any()


def test_closest_contact_is_that_of_all_atoms():
    pose = [5, 6, 7, 90, 97, 90, 0.2, 0.3, 0.15, 1, 2, 0.3]
    crystal = MolecularCrystal.from_parameters(METHANOL, 14, pose)
    dst, src, vectors = crystal.intermolecular_vectors(6.0)
    radii = vdw_radii(crystal.unit_cell[1].ravel())
    relative = np.linalg.norm(vectors, axis=1) / (radii[dst] + radii[src])
    assert crystal.contact == pytest.approx(relative.min())


@pytest.mark.parametrize("compiled", [True, False])
def test_pairs_around_a_molecule_are_all_pairs(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(neighbours, "compiled_pairs", lambda *_: None)
    pose = [5, 6, 11, 70, 80, 95, 0.2, 0.3, 0.15, 1, 2, 0.3]
    crystal = MolecularCrystal.from_parameters(METHANOL, 2, pose)
    dst, src, vectors = crystal.intermolecular_vectors(7.5)
    atoms, molecules, others, found = pairs_around(
        crystal.unit_cell[0], crystal.cell, 0, 7.5
    )
    rows = np.column_stack([atoms, molecules * 6 + others, found])
    first = dst < 6
    expected = np.column_stack([dst, src, vectors])[first]
    np.testing.assert_allclose(in_order(rows), in_order(expected), atol=1e-9)


def in_order(rows):
    return rows[np.lexsort(np.round(rows, 6).T)]


def test_isomers_are_told_apart_and_mirror_images_are_not():
    ethanol, ether = molecule("CH3CH2OH"), molecule("CH3OCH3")
    apart = ether.copy()
    apart.positions += [0, 0, 5]
    with pytest.raises(errors.SeveralSpeciesError, match="C2H6O, C2H6O"):
        MolecularCrystal.from_atoms(box(ethanol + apart, 11.0))
    mirrored = ethanol.copy()
    mirrored.positions = mirrored.positions * [1, 1, -1] + [0.3, 0, 5]
    both = box(ethanol + mirrored[::-1], 11.0)
    assert MolecularCrystal.from_atoms(both).n_molecules == 2


def box(atoms, size=9.0):
    return Atoms(atoms.numbers, atoms.positions, cell=[size] * 3, pbc=True)


def without(atoms, index):
    atoms = atoms.copy()
    del atoms[index]
    return atoms


def two_kinds(other):
    apart = molecule(other)
    apart.positions += [0, 0, 4.5]
    return box(molecule("H2O") + apart)


BAD = {
    "empty": Atoms(cell=[5, 5, 5], pbc=True),
    "not-periodic": molecule("H2O"),
    "element": box(Atoms("XH2", positions=molecule("H2O").positions)),
    "overlap": box(Atoms("CO", [[0, 0, 0], [0, 0, 0.4]])),
    "network": bulk("C"),
    "salt": bulk("NaCl", "rocksalt", a=9.0),
    "species": two_kinds("CH4"),
    "hydrogens": box(without(molecule("C6H6"), [6, 9])),
}


@pytest.mark.parametrize("code", BAD)
def test_bad_crystals_have_named_errors(code):
    with pytest.raises(errors.CrystalError) as caught:
        MolecularCrystal.from_atoms(BAD[code])
    assert caught.value.code == code


@pytest.mark.parametrize("smiles", ["CN", "CC(N)=O", "NC(=O)N", "OCCO", "C1CNCCN1"])
def test_hydrogen_missing_on_nitrogen_or_oxygen_is_named(smiles):
    whole = atoms_from_smiles(smiles)
    MolecularCrystal.from_atoms(box(whole))
    with pytest.raises(errors.MissingHydrogensError, match=r"\(N or O\)"):
        MolecularCrystal.from_atoms(box(whole[~polar_hydrogens(whole)]))


@pytest.mark.parametrize("name", ["N2", "CH3CN", "C5H5N", "CO2", "HCOOH", "N2O"])
def test_nitrogen_and_oxygen_without_hydrogen_are_no_mistake(name):
    MolecularCrystal.from_atoms(box(molecule(name)))


def test_charged_crystals_are_refused():
    charged = box(molecule("H2O"))
    charged.info["charge"] = 1
    with pytest.raises(errors.SaltError, match=r"charge \+1"):
        MolecularCrystal.from_atoms(charged)


def test_slab_is_not_a_crystal():
    slab = box(molecule("H2O"))
    slab.pbc = [True, True, False]
    with pytest.raises(errors.NotPeriodicError, match="three directions"):
        MolecularCrystal.from_atoms(slab)


def test_odd_electrons_and_ions_are_told_apart():
    with pytest.raises(errors.MissingHydrogensError, match="odd number"):
        MolecularCrystal.from_atoms(box(molecule("CN")))
    with pytest.raises(errors.MissingHydrogensError, match=r"atom 1 \(N or O\)"):
        MolecularCrystal.from_atoms(box(without(METHANOL, 3)))
    with pytest.raises(errors.SaltError, match="ions"):
        MolecularCrystal.from_atoms(two_kinds("CH3O"))


def test_files(tmp_path):
    crystal = MolecularCrystal.from_parameters(METHANOL, 19, roomy(19, 0))
    write(tmp_path / "good.cif", crystal.to_atoms())
    assert MolecularCrystal.from_file(tmp_path / "good.cif").spacegroup == 19
    (tmp_path / "empty.cif").write_text("")
    with pytest.raises(errors.UnreadableFileError, match=r"empty\.cif: .* is empty"):
        MolecularCrystal.from_file(tmp_path / "empty.cif")
    (tmp_path / "letter.cif").write_text("hello\nworld\n")
    with pytest.raises(errors.UnreadableFileError, match="not of the format"):
        MolecularCrystal.from_file(tmp_path / "letter.cif")
    disordered = (tmp_path / "good.cif").read_text().replace(" 1.0000\n", " 0.5000\n")
    (tmp_path / "half.cif").write_text(disordered)
    with pytest.raises(errors.PartialOccupancyError, match="disordered"):
        MolecularCrystal.from_file(tmp_path / "half.cif")


def test_the_standard_setting_is_as_tolerant_as_what_was_read():
    pose = [6, 7, 9, 90, 90, 90, 0.2, 0.3, 0.1, 0.5, -0.4, 1.0]
    atoms = MolecularCrystal.from_parameters(WATER, 19, pose).to_atoms()
    lengths = cell_to_cellpar(atoms.cell.array)
    atoms.set_cell([*lengths[:4], lengths[4] + 0.1, 90], scale_atoms=True)
    crystal = MolecularCrystal.from_atoms(atoms, symprec=0.2)
    standard = crystal.standardised()
    assert crystal.spacegroup == standard.spacegroup == 19
    assert standard.density == pytest.approx(crystal.density)
    strict = replace(crystal, symprec=1e-4)
    with pytest.raises(errors.CrystalError, match="give another symprec"):
        strict.standardised()
