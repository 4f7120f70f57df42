"""Molecules keep to the rules that are set, and impossible ones are refused."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.data import covalent_radii

from equicalc.generators import Builder, Rules, TooFewValidError, filtering
from equicalc.generators.constraints import Constraints
from equicalc.generators.growing import Addition, Growing
from equicalc.generators.metrics import valid_molecule
from equicalc.generators.steps import Temperature, step
from equicalc.generators.streams import DRAWS
from equicalc.models import SymphonyConfig


def ratios(atoms):
    """Distances over sums of covalent radii, (n, n), infinite on the diagonal."""
    radii = covalent_radii[atoms.numbers]
    distance = atoms.get_all_distances() + np.diag(np.full(len(atoms), np.inf))
    return distance / (radii[:, None] + radii)


def test_rules_that_refuse_nothing_change_nothing(builder):
    free = builder.generate(4, seed=0)
    ruled = builder.generate(4, seed=0, rules=Rules(clash=1e-6, max_atoms=7))
    for a, b in zip(free, ruled):
        np.testing.assert_allclose(a.positions, b.positions)


def test_molecules_do_not_clash(builder):
    for atoms in builder.generate(12, seed=0, rules=Rules(clash=1.25)):
        found = ratios(atoms)
        assert ((found < 1.15 + 1e-5) | (found > 1.25 - 1e-5)).all()


def test_a_filter_lets_no_molecule_through_that_breaks_a_rule():
    water = molecule("H2O")
    broken = water.copy()
    broken.info["complete"] = False
    through = filtering.ValidFilter()
    assert list(through([broken, water])) == [water]
    assert through.acceptance == 0.5


def test_limits_are_those_of_what_is_added(builder):
    """A fragment may be larger than the largest molecule of the generator."""
    chain = Atoms("C12", [[1.5 * k, 0, 0] for k in range(12)])
    most = builder.model.config.max_atoms
    rules = Rules(elements=("C", "H"), min_atoms=most + 14)
    assert rules.room(most, len(chain)) == most + 14
    quota = rules.quota(builder.model.config)
    assert quota is not None
    assert min(n for n in quota if n) > most


def test_no_atom_has_more_bonds_than_it_can(builder):
    """Distances that are certainly bonds, whatever the kind."""
    reach = {(1, 1): 0.84, (1, 6): 1.19, (1, 8): 1.06, (6, 6): 1.64, (6, 8): 1.53}
    reach |= {(8, 8): 1.58}
    for atoms in builder.generate(12, seed=0):
        d, z = atoms.get_all_distances(), atoms.numbers
        for i in range(len(atoms)):
            bonds = sum(
                0 < d[i, j] < reach[tuple(sorted((z[i], z[j])))] - 1e-4
                for j in range(len(atoms))
            )
            assert bonds <= {1: 1, 6: 4, 8: 2}[int(z[i])]


def test_new_atoms_are_bonded_to_what_they_are_attached_to(builder):
    for atoms in builder.generate(12, seed=0):
        new = np.flatnonzero(atoms.arrays["gen_focus"] >= 0)
        focus = atoms.arrays["gen_focus"][new]
        length = np.linalg.norm(atoms.positions[new] - atoms.positions[focus], axis=1)
        radii = covalent_radii[atoms.numbers]
        assert (length < 1.15 * (radii[new] + radii[focus]) + 1e-4).all()


@pytest.mark.parametrize("valence", [True, False])
def test_complete_molecules_have_no_odd_electron(builder, valence):
    """With the rule; an untrained network stops anywhere without it."""
    made = builder.generate(40, seed=0, rules=Rules(valence=valence))
    odd = [atoms.numbers.sum() % 2 for atoms in made if atoms.info["complete"]]
    assert odd
    assert any(odd) is not valence


def test_valences_are_left_alone_where_they_are_unknown():
    """By default; on demand, that is an error."""
    known, other = (SymphonyConfig(elements=(1, 6, z)) for z in (8, 16))
    assert Rules().settled(known).valence
    assert not Rules().settled(other).valence
    assert not Rules(valence=False).settled(known).valence
    with pytest.raises(ValueError, match="knows H, C, N, O, F only"):
        Rules(valence=True).settled(other).check(other)


def test_elements_and_sizes_are_kept(builder):
    rules = Rules(elements=["H", "C"], min_atoms=4, max_atoms=5, valence=False)
    for atoms in builder.generate(8, seed=0, rules=rules):
        assert set(atoms.symbols) <= {"H", "C"}
        assert 4 <= len(atoms) <= 5


def test_a_formula_is_met(builder):
    rules = Rules(formula="CH4O", valence=False)  # nobody trained the network
    made = builder.generate(6, seed=1, rules=rules)
    for atoms in made:
        assert atoms.info["complete"]
        assert atoms.get_chemical_formula() == "CH4O"


def test_a_fragment_is_completed_to_a_formula(builder, methanol):
    rules = Rules(formula="CH4O", valence=False)
    for atoms in builder.complete(methanol[[0, 1]], 3, rules=rules):
        assert atoms.get_chemical_formula() == "CH4O"
        assert atoms.info["complete"]


def test_the_environment_is_left_alone(builder, methanol):
    around = Atoms("Au4", [[3, 0, 0], [-3, 0, 0], [0, 3, 0], [0, -3, 0]])
    fragment = methanol[[0, 1]]
    reach = 1.7 * (covalent_radii[79] + covalent_radii[[1, 6, 8]])
    for atoms in builder.complete(fragment, 6, rules=Rules(environment=around)):
        for new in atoms[2:]:
            distance = np.linalg.norm(around.positions - new.position, axis=1)
            assert distance.min() > reach[[1, 6, 8].index(new.number)] - 1e-4


def test_rules_do_not_depend_on_the_batch(builder):
    rules = Rules(valence=True, clash=1.25, attempts=3)
    together = builder.generate(4, seed=2, rules=rules)
    for k, atoms in enumerate(together):
        (alone,) = builder.generate(1, seed=2, first=k, rules=rules)
        assert alone.get_chemical_formula() == atoms.get_chemical_formula()
        np.testing.assert_allclose(alone.positions, atoms.positions, atol=1e-3)


def test_a_molecule_without_a_way_on_ends(builder, methanol):
    """Everything around is taken."""
    around = Atoms("Au", methanol.positions[:1])
    for atoms in builder.complete(methanol[[0]], 8, rules=Rules(environment=around)):
        assert len(atoms) == 1
    assert builder.propose(methanol[[0]], 3, rules=Rules(environment=around)) == []


def test_what_is_barred_is_no_end(builder, methanol):
    """However often it is refused: the molecule stops only where it may go on."""
    around = Atoms("Au", methanol.positions[:1])
    rules = Rules(environment=around, attempts=40, valence=False, retreats=0)
    for atoms in builder.complete(methanol[[0]], 40, rules=rules):
        if atoms.info["complete"]:  # the first draw already
            alone = replace(rules, attempts=1)
            number = atoms.info["molecule"]
            (again,) = builder.complete(methanol[[0]], 1, rules=alone, first=number)
            assert again.info["complete"]


def test_a_molecule_takes_more_atoms_back_every_time():
    """Carbons, oxygens and their hydrogens; what was given stays."""
    species = torch.tensor([[1, 1, 2, 0, 2, 0], [1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]])
    focus = torch.tensor([[-1, 0, 1, 1, 2, 4], [-1, -1, 0, 2, 2, 2], [-1] * 6])
    growing = Growing.begin(
        torch.arange(3), species, torch.zeros(3, 6, 3), torch.full((3,), 6)
    )
    growing.focus[:] = focus
    for moved, n_atoms in (([0, 1], [4, 2, 6]), ([0], [1, 2, 6]), ([], [1, 2, 6])):
        assert growing.retreat(torch.arange(3)).tolist() == moved
        assert growing.n_atoms.tolist() == n_atoms


def test_retreats_find_another_way(builder):
    """Some of the molecules that ended without them are whole then; others are same."""
    rules = Rules(valence=True, clash=1.25)
    before = builder.generate(48, seed=0, rules=replace(rules, retreats=0))
    after = builder.generate(48, seed=0, rules=rules)
    lost = [k for k, atoms in enumerate(before) if not atoms.info["complete"]]
    assert any(after[k].info["complete"] for k in lost)
    for k, (a, b) in enumerate(zip(before, after)):
        if k not in lost:
            np.testing.assert_allclose(a.positions, b.positions, atol=1e-3)


def test_full_molecules_and_lost_ones_retreat(builder):
    """Lost is one to which nothing may be attached, and that must not stop."""
    small = Rules(max_atoms=5, valence=False)
    n_whole = [
        sum(atoms.info["complete"] for atoms in builder.generate(24, rules=rules))
        for rules in (replace(small, retreats=0), small)
    ]
    assert n_whole[0] < n_whole[1]
    chain = torch.tensor([[1, 1, 1]])
    places = torch.tensor([[[0.0, 0, 0], [1.5, 0, 0], [3.0, 0, 0]]])
    places = places.double()
    growing = Growing.begin(torch.zeros(1), chain, places, torch.tensor([7]))
    growing.focus[:, :3] = torch.tensor([-1, 0, 1])
    growing.may_focus[:] = False
    constraints = builder.sampler.constraints(Rules(valence=False))
    numbers = torch.full((1, 1, DRAWS), 0.5)
    done = step(
        builder.model, growing, numbers, Temperature(), constraints, may_stop=False
    )
    assert done.growing.n_atoms.tolist() == [2]
    assert not len(done.ended)


def test_bonds_of_the_table_are_in_reach(builder):
    """O-O is typically 1.48 Angstrom long, 1.15 sums of the radii are 1.52."""
    constraints = Constraints.of(
        Rules(valence=True), builder.model, torch.device("cpu")
    )
    oxygen = torch.tensor([builder.model.elements.index(8)])
    start = Growing.begin(
        torch.tensor([0]),
        oxygen[:, None],
        torch.zeros(1, 1, 3, dtype=torch.float64),
        torch.tensor([3]),
    )
    for length, good in ((1.4, True), (1.55, True), (1.7, False)):
        place = torch.tensor([[length, 0.0, 0.0]], dtype=torch.float64)
        new = Addition(oxygen, place, torch.tensor([0]), torch.zeros(1))
        assert constraints.accept(start, new).item() is good


@pytest.mark.parametrize(("degrees", "good"), [(0, True), (15, True), (60, False)])
def test_the_ends_of_double_bonds_are_flat(builder, degrees, good):
    """Whether the atom that comes is a neighbour of an end, or an end itself."""
    constraints = Constraints.of(
        Rules().settled(builder.model.config), builder.model, torch.device("cpu")
    )
    ethene = molecule("C2H4")  # in the plane x = 0
    bond = ethene.positions[2] - ethene.positions[0]
    up = np.linalg.norm(bond) * np.array([1.0, 0.0, 0.0])
    angle = np.radians(degrees)
    ethene.positions[2] = (
        ethene.positions[0] + np.cos(angle) * bond + np.sin(angle) * up
    )
    for last, focus in ((2, 0), (0, 1)):
        order = [k for k in range(6) if k != last] + [last]
        species = torch.tensor([[int(z > 1) for z in ethene.numbers[order]]])
        pos = torch.tensor(ethene.positions[order])[None]
        room = torch.tensor([6])
        start = Growing.begin(torch.zeros(1), species[:, :5], pos[:, :5], room)
        to = torch.tensor([order.index(focus)])
        new = Addition(species[:, 5], pos[:, 5], to, torch.zeros(1))
        assert constraints.accept(start, new).item() is good


@pytest.mark.parametrize(("distance", "good"), [(1.5, True), (1.7, False), (1.9, True)])
def test_atoms_are_either_bonded_or_apart(builder, distance, good):
    """An oxygen at one carbon, near another one."""
    constraints = Constraints.of(
        Rules(valence=True), builder.model, torch.device("cpu")
    )
    species = torch.tensor([[1, 1]])
    pos = torch.tensor([[[0.0, 0, 0], [0, 0, 1.4 + distance]]], dtype=torch.float64)
    start = Growing.begin(torch.zeros(1), species, pos, torch.tensor([3]))
    oxygen = torch.tensor([builder.model.elements.index(8)])
    place = torch.tensor([[0.0, 0.0, 1.4]], dtype=torch.float64)
    new = Addition(oxygen, place, torch.tensor([0]), torch.zeros(1))
    assert constraints.accept(start, new).item() is good


def test_radicals_are_grown_without_the_rule(builder, methanol):
    """With it, what can have no partner for its electron is refused at once."""
    methyl = molecule("CH3")
    rules = {"elements": ["C", "O"], "max_atoms": 6}
    with pytest.raises(ValueError, match=r"CH3 has an odd number .* valence=False"):
        builder.complete(methyl, 1, rules=Rules(**rules))
    builder.complete(methyl, 1, rules=Rules(**rules, valence=False))
    for atoms in builder.generate(3, rules=Rules(formula="CH3O", valence=False)):
        assert not atoms.info["complete"] or len(atoms) == 5


def test_valid_ones_are_delivered(builder, monkeypatch):
    valid = builder.generate(3, seed=0, valid_only=True)
    assert len(valid) == 3
    assert all(valid_molecule(atoms) is not None for atoms in valid)
    every = islice(builder.stream(None, seed=0, batch_size=16), 200)
    whole = [atoms for atoms in every if atoms.info["complete"]]
    numbers = [a.info["molecule"] for a in whole if valid_molecule(a) is not None]
    assert [atoms.info["molecule"] for atoms in valid] == numbers[:3]
    monkeypatch.setattr(filtering, "PATIENCE", 5)
    monkeypatch.setattr(filtering, "valid_molecule", lambda atoms: None)
    with pytest.raises(TooFewValidError, match="5 molecules in a row"):
        builder.generate(1, seed=0, valid_only=True)


def test_many_fragments_are_completed_at_once(builder):
    """As each alone: the first as molecule 0, the second as molecule 1."""
    fragments = [molecule("CH3OH")[[0]], molecule("CH3CHO")[[0, 1, 2]]]
    together = builder.complete_each(fragments, seed=3)
    for k, (fragment, atoms) in enumerate(zip(fragments, together)):
        (alone,) = builder.complete(fragment, 1, seed=3, first=k)
        n = min(len(alone), len(atoms))
        assert (atoms.numbers[: len(fragment)] == fragment.numbers).all()
        np.testing.assert_allclose(alone.positions[:n], atoms.positions[:n], atol=1e-3)


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        ({"formula": "C2H5Si"}, "Si unknown to this generator, which knows H, C, O"),
        (
            {"formula": "CH4", "elements": ["C", "O"]},
            "CH4 has other elements than C, O",
        ),
        ({"formula": "C2H9"}, "too many hydrogens"),
        ({"formula": "C2H5"}, "odd number of bonds"),
        ({"formula": "C2Hx"}, "cannot be read"),
        ({"formula": "H2"}, "hydrogens only"),
        ({"formula": "C3H8O"}, "12 atoms are asked for; this generator .* up to 7"),
        ({"elements": ["H", "F"]}, "F unknown"),
        ({"elements": ["H"]}, "hydrogens only"),
        ({"min_atoms": 40}, "40 atoms are asked for"),
    ],
)
def test_impossible_rules_are_refused(builder, rules, match):
    with pytest.raises(ValueError, match=match):
        builder.generate(1, rules=Rules(**rules))


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        ({"clash": -1.0}, "clash must be positive"),
        ({"attempts": 0}, "at least 1"),
        ({"retreats": -1}, "at least 0"),
        ({"min_atoms": 5, "max_atoms": 3}, "max_atoms 3 is below min_atoms 5"),
        ({"formula": "CH4", "max_atoms": 3}, "not both"),
        ({"formula": ""}, "formula is empty"),
        ({"elements": [""]}, "elements are empty"),
        ({"environment": Atoms("Au", cell=[3, 3, 3], pbc=True)}, "periodic"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(rules, match):
    with pytest.raises(ValueError, match=match):
        Rules(**rules)


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        ({"formula": "CH4"}, "the fragment has 1 O, the formula CH4 only 0"),
        ({"max_atoms": 2}, "the fragment has 6 atoms, more than the 2 allowed"),
    ],
)
def test_fragments_must_fit(builder, methanol, rules, match):
    with pytest.raises(ValueError, match=match):
        builder.complete(methanol, rules=Rules(**rules))


def test_the_published_model_works_behind_the_same_builder():
    import torch

    from equicalc.models import SymphonyPaper, SymphonyPaperConfig

    torch.manual_seed(0)
    config = SymphonyPaperConfig(
        elements=(1, 6, 8),
        focus_channels=4,
        focus_layers=1,
        focus_ls=(0, 1),
        position_channels=4,
        position_layers=1,
        position_ls=(0, 1, 2),
        shells=12,
        n_theta=6,
        max_atoms=5,
    )
    builder = Builder(SymphonyPaper(config, backend="torch"), "paper")
    for k, atoms in enumerate(builder.generate(4, seed=0)):
        assert atoms.numbers[0] == 1  # as published
        (alone,) = builder.generate(1, seed=0, first=k)
        np.testing.assert_allclose(alone.positions, atoms.positions, atol=1e-3)
    grown = builder.complete(Atoms("H"), 2, seed=0)
    assert all(len(atoms) >= 1 for atoms in grown)
    proposal = builder.propose(Atoms("H"), 1)[0]
    r = np.linalg.norm(proposal.position)
    assert np.abs(r - np.linspace(0.9, 2.0, 12)).min() < 1e-5
    placed = Atoms(["H", proposal.symbol], [np.zeros(3), proposal.position])
    assert np.isfinite(builder.log_prob(placed))
